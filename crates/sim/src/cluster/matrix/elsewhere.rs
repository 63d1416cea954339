//! Rows of the fault matrix that no simulated cluster can show: what shows them, or that nothing does yet.

/// A row and what shows it.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere {
    pub number: u32,
    pub title: &'static str,
    /// Tests as `file: function`, separated by `; `; empty: not shown yet.
    pub tests: &'static str,
    /// Why, or what of the row is not shown.
    pub remark: &'static str,
}

/// All of them, in the order of their numbers.
pub const ROWS: &[Elsewhere] = &[
    Elsewhere {
        number: 17,
        title: "memory limit, OOM kill",
        tests: "crates/sternpost/tests/it/limits.rs: half_frames_take_no_memory_and_end",
        remark: "bounds of what clients take only; the kill itself is row 1",
    },
    Elsewhere {
        number: 18,
        title: "file descriptors run out",
        tests: "crates/sternpost/tests/it/limits.rs: more_connections_than_allowed_are_closed",
        remark: "the limit on connections, which keeps below the descriptors",
    },
    Elsewhere {
        number: 37,
        title: "a broker's DNS name or address changes",
        tests: "crates/sternpost/tests/it/cluster.rs: a_node_that_comes_back_at_another_address_is_found; \
                crates/runtime/src/peers/tests.rs: a_peer_whose_name_leads_elsewhere_is_found",
        remark: "real processes for the address that clients have; for the name that peers have, a table in place of DNS",
    },
    Elsewhere {
        number: 64,
        title: "a broker is added, one is removed, and killed midway",
        tests: "",
        remark: "the set of nodes cannot be changed yet",
    },
    Elsewhere {
        number: 65,
        title: "a dead node is replaced under its id",
        tests: "crates/sternpost/tests/it/replaced.rs: a_lost_disk_is_replaced_at_a_word_and_an_old_one_sent_away",
        remark: "real processes; in simulated time it is row 57",
    },
    Elsewhere {
        number: 66,
        title: "the leader removes itself",
        tests: "",
        remark: "the set of nodes cannot be changed yet",
    },
    Elsewhere {
        number: 67,
        title: "mixed versions, and the way back",
        tests: "crates/broker/src/node/tests/cluster/levels.rs: a_rolling_upgrade_ends_at_the_new_level, \
                the_level_waits_for_nodes_that_are_away",
        remark: "a half of the worlds of `sim --nodes 3` begin with older versions, too; the way back is open until the level is raised",
    },
    Elsewhere {
        number: 80,
        title: "operator error",
        tests: "crates/sternpost/tests/it/wrong_use.rs: a_taken_port, a_directory_of_another_cluster, another_nodes_directory, \
                settings_that_make_no_sense; crates/sternpost/tests/it/cluster.rs: an_emptied_data_directory_is_sent_away",
        remark: "the real process, started wrong",
    },
];
