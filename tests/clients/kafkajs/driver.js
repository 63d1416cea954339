// The flights job's driver for kafkajs. Verbs and options: see ../README.md.
'use strict';
const fs = require('fs');
const readline = require('readline');
const { Kafka, Partitioners, logLevel } = require('kafkajs');

const [SENT, ACKED, FAILED, STOP, ASSIGNED, CONSUMED, COMMITS, COMMIT_FAILURES] = [0, 1, 2, 3, 4, 5, 6, 7];
const BATCH_ROWS = 500;
const COMMIT_EVERY_MS = 1000;
const COMMIT_RETRIES = 6;
const FINAL_COMMIT_MS = 60000;

const verb = process.argv[2];
const o = {};
for (let i = 3; i + 1 < process.argv.length; i += 2) o[process.argv[i].replace(/^--/, '')] = process.argv[i + 1];

const kafka = new Kafka({
  clientId: 'flights-kafkajs',
  brokers: o.bootstrap.split(','),
  logLevel: logLevel.WARN,
  logCreator: () => ({ log }) => console.error(log.timestamp, log.message, log.error || ''),
  // A server that is killed every second must still be met alive, and no row may be given up.
  retry: { initialRetryTime: 100, maxRetryTime: 500, retries: 1000000 },
});
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// The file of eight u64 slots described in flights/state.py. Node has no mmap: one small write per change.
class State {
  constructor(path) {
    this.fd = fs.openSync(path, 'r+');
    this.slot = Buffer.alloc(8);
  }
  set(slot, value) {
    this.slot.writeBigUInt64LE(BigInt(value));
    fs.writeSync(this.fd, this.slot, 0, 8, slot * 8);
  }
  stopped() {
    const b = Buffer.alloc(8);
    fs.readSync(this.fd, b, 0, 8, STOP * 8);
    return b.readBigUInt64LE() !== 0n;
  }
}

async function create() {
  const admin = kafka.admin();
  await admin.connect();
  const created = await admin.createTopics({
    topics: [{ topic: o.topic, numPartitions: Number(o.partitions), replicationFactor: -1 }],
  });
  await admin.disconnect();
  if (!created) throw new Error(`topic ${o.topic} exists already`);
}

async function loadRows() {
  const rows = [];
  const limit = Number(o.limit);
  for await (const line of readline.createInterface({ input: fs.createReadStream(o.rows) })) {
    if (rows.length >= limit) break;
    const tab = line.indexOf('\t');
    rows.push([line.slice(0, tab), line.slice(tab + 1)]);
  }
  return rows;
}

// With several nodes each partition's rows are a send of their own, one after the other. A send to several nodes ends at the first
// one's failure, and is tried again while the others' requests are still under way, with sequences that count these rows as sent:
// when a leader dies kafkajs would double or refuse rows.
function sendsOf(messages) {
  if (o.bootstrap.split(',').length === 1) return [messages];
  const groups = new Map();
  for (const m of messages) {
    if (!groups.has(m.partition)) groups.set(m.partition, []);
    groups.get(m.partition).push(m);
  }
  return groups.values();
}

async function produce() {
  const rows = await loadRows();
  const state = new State(o.state);
  const acks = fs.createWriteStream(o.acks);
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  const rate = Number(o.rate || 0);
  const batchRows = rate > 0 ? Math.max(1, Math.min(BATCH_ROWS, Math.floor(rate / 20))) : BATCH_ROWS;
  const started = Date.now();
  let seq = 0;
  let acked = 0;
  let more = true;
  const choosePartition = Partitioners.DefaultPartitioner();
  const partitionMetadata = Array.from({ length: Number(o.partitions) }, (_, partitionId) => ({ partitionId, leader: 0 }));
  const send = async (rows) => {
    let results;
    try {
      const messages = rows.map(({ key, value, partition }) => ({ key, value, partition }));
      results = await producer.send({ topic: o.topic, acks: -1, messages });
    } catch (e) {
      state.set(FAILED, rows.length);
      throw e;
    }
    const now = Date.now();
    const next = new Map(results.map((r) => [r.partition, Number(r.baseOffset)]));
    let lines = '';
    for (const { seq, partition } of rows) {
      const offset = next.get(partition);
      next.set(partition, offset + 1);
      lines += `${seq} ${partition} ${offset} ${now}\n`;
    }
    acks.write(lines);
    acked += rows.length;
    state.set(ACKED, acked);
  };
  while (more) {
    const messages = [];
    const first = seq;
    while (messages.length < batchRows) {
      if (seq >= rows.length && (o.repeat !== '1' || state.stopped())) {
        more = false;
        break;
      }
      const [key, rest] = rows[seq % rows.length];
      const message = { seq, key, value: `{"client":"${o.client}","seq":${seq},${rest}` };
      message.partition = choosePartition({ topic: o.topic, partitionMetadata, message });
      messages.push(message);
      seq += 1;
    }
    if (messages.length === 0) break;
    const due = rate > 0 ? (first * 1000) / rate - (Date.now() - started) : 0;
    if (due > 0) await sleep(due);
    state.set(SENT, seq);
    for (const group of sendsOf(messages)) await send(group);
  }
  await producer.disconnect();
  await new Promise((done) => acks.end(done));
}

function writeRows(fd, batch) {
  let lines = '';
  for (const m of batch.messages) lines += `${batch.partition}\t${m.offset}\t${m.key}\t${m.value}\n`;
  if (lines) fs.writeSync(fd, lines);
}

async function member() {
  const state = new State(o.state);
  const out = fs.openSync(o.out, 'w');
  const consumer = kafka.consumer({
    groupId: o.group,
    sessionTimeout: 30000,
    maxWaitTimeInMs: 200,
    // A commit asks the coordinator that it knows, and never who it is now; giving up lets the next heartbeat find out.
    retry: { initialRetryTime: 100, maxRetryTime: 500, retries: COMMIT_RETRIES, restartOnFailure: async () => true },
  });
  const next = new Map(); // partition -> offset after the last row written; only partitions of the present assignment
  let count = 0;
  let commits = 0;
  let failures = 0;
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    next.clear();
    state.set(ASSIGNED, (payload.memberAssignment[o.topic] || []).length);
  });
  // kafkajs loops silently when the session is lost; while it joins again it owns nothing.
  consumer.on(consumer.events.REBALANCING, () => state.set(ASSIGNED, 0));
  const commit = async () => {
    const offsets = [...next].map(([partition, offset]) => ({ topic: o.topic, partition, offset: String(offset) }));
    if (offsets.length === 0) return true;
    try {
      await consumer.commitOffsets(offsets);
    } catch (e) {
      failures += 1;
      state.set(COMMIT_FAILURES, failures);
      console.error('commit:', e.message);
      return false;
    }
    commits += 1;
    state.set(COMMITS, commits);
    return true;
  };
  await consumer.connect();
  await consumer.subscribe({ topic: o.topic, fromBeginning: true });
  let due = 0;
  const options = {
    autoCommit: false,
    eachBatchAutoResolve: true,
    eachBatch: async ({ batch, heartbeat }) => {
      writeRows(out, batch);
      count += batch.messages.length;
      state.set(CONSUMED, count);
      if (batch.messages.length > 0) next.set(batch.partition, Number(batch.lastOffset()) + 1);
      if (Date.now() >= due) {
        await commit();
        due = Date.now() + COMMIT_EVERY_MS;
      }
      await heartbeat();
    },
  };
  // A connection that breaks while kafkajs looks for its coordinator ends the consumer for good: it calls that error not
  // retriable and leaves starting again to the program.
  consumer.on(consumer.events.CRASH, async ({ payload }) => {
    if (payload.restart) return;
    await consumer.connect();
    await consumer.run(options);
  });
  await consumer.run(options);
  while (!state.stopped()) await sleep(50);
  const deadline = Date.now() + FINAL_COMMIT_MS;
  while (!(await commit())) {
    if (Date.now() > deadline) throw new Error('the last commit did not succeed');
    await sleep(200);
  }
  await consumer.disconnect();
  fs.closeSync(out);
}

// kafkajs reads only through groups: a fresh one-member group reads from the beginning to the present end.
async function dump() {
  const admin = kafka.admin();
  await admin.connect();
  const left = new Map();
  for (const p of await admin.fetchTopicOffsets(o.topic)) if (Number(p.high) > Number(p.low)) left.set(p.partition, Number(p.high));
  const out = fs.openSync(o.out, 'w');
  const group = `${o.group}-dump-${process.pid}`;
  const consumer = kafka.consumer({ groupId: group, maxWaitTimeInMs: 200 });
  await consumer.connect();
  await consumer.subscribe({ topic: o.topic, fromBeginning: true });
  await new Promise((done, failed) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => failed(payload.error));
    if (left.size === 0) done();
    consumer
      .run({
        autoCommit: false,
        eachBatch: async ({ batch }) => {
          writeRows(out, batch);
          if (left.has(batch.partition) && Number(batch.lastOffset()) + 1 >= left.get(batch.partition)) left.delete(batch.partition);
          if (left.size === 0) done();
        },
      })
      .catch(failed);
  });
  await consumer.disconnect();
  await admin.deleteGroups([group]);
  await admin.disconnect();
  fs.closeSync(out);
}

async function offsets() {
  const admin = kafka.admin();
  await admin.connect();
  const ends = await admin.fetchTopicOffsets(o.topic);
  const [{ partitions }] = await admin.fetchOffsets({ groupId: o.group, topics: [o.topic] });
  const committed = new Map(partitions.map((p) => [p.partition, p.offset]));
  for (const p of ends) console.log(p.partition, p.low, p.high, committed.has(p.partition) ? committed.get(p.partition) : -1);
  await admin.disconnect();
}

const verbs = { create, produce, member, dump, offsets };
if (!verbs[verb]) {
  console.error('usage: driver.js create|produce|member|dump|offsets --name value ...');
  process.exit(2);
}
verbs[verb]().then(
  () => process.exit(0),
  (e) => {
    console.error(e);
    process.exit(1);
  },
);
