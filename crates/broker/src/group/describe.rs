//! Groups as tools see them: DescribeGroups and ListGroups.

use super::classic::{Group, Phase};
use crate::request::{DescribedGroup, DescribedMember, GroupPhase, ListGroups, Refusal};
use std::collections::BTreeMap;

/// One group. Metadata and assignments are shown while they hold, that is when the group is stable.
pub(super) fn describe(name: &str, group: &Group) -> DescribedGroup {
    let is_stable = group.phase == Phase::Stable;
    let protocol = group.protocol.as_deref().filter(|_| is_stable);
    let members = group.members.iter().map(|(id, member)| DescribedMember {
        member_id: id.clone(),
        instance_id: member.instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: format!("/{}", member.client_host),
        metadata: member.metadata(protocol),
        assignment: if is_stable { member.assignment.bytes() } else { Default::default() },
    });
    DescribedGroup {
        group: name.to_owned(),
        refusal: Refusal::OK,
        state: group.public_phase(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        protocol: protocol.unwrap_or_default().to_owned(),
        members: members.collect(),
    }
}

/// Group, kind and state of those that pass the filters.
pub(super) fn list(
    groups: &BTreeMap<String, Group>,
    filter: &ListGroups,
) -> Vec<(String, String, GroupPhase)> {
    let allows = |names: &[String], name: &str| {
        names.is_empty() || names.iter().any(|other| other.eq_ignore_ascii_case(name))
    };
    if !allows(&filter.types, "classic") {
        return Vec::new();
    }
    groups
        .iter()
        .filter(|(_, group)| allows(&filter.states, group.public_phase().name()))
        .map(|(name, group)| {
            (name.clone(), group.protocol_type.clone().unwrap_or_default(), group.public_phase())
        })
        .collect()
}
