//! What a chain of first-match rules accepts, from 500 to 20,000 random rules, and what whole base
//! chains of `nf_tables` do with every packet.
//!
//! Each rule has a prefix for source and destination, a range of destination ports and a protocol.
//! Easy chains name both addresses in every rule; in the others some per cent of the rules name no
//! source and as many no destination.

use divan::Bencher;
use kvmnet::engine::Facts;
use kvmnet::engine::packet_set::field::IPV4;
use kvmnet::engine::packet_set::first_match::{Line, accepted, from_the_first, from_the_last};
use kvmnet::engine::packet_set::{Arena, Bdd, Decided, Field, Headers, HostSets};
use kvmnet_probes::facts::{
    BaseChain, Bytes, Chain, Compare, Data, Expr, Family, Generation, Hook, PayloadBase, Policy, Register,
    Rule, Snapshot, Table, Verdict,
};

fn main() {
    divan::main();
}

/// Marsaglia's xorshift: the same rules on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn per_cent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

const SIZES: [usize; 5] = [500, 1_000, 5_000, 10_000, 20_000];
/// 2^25 nodes are about 1.2 GB.
const BUDGET: usize = 1 << 25;

/// A chain: of each rule the sets of its tests, joined.
fn chain(sets: &mut Arena, length: usize, any: u64) -> Decided<Vec<Line>> {
    let mut random = Random(0x6b76_6d6e_6574);
    (0..length).map(|_| rule(sets, &mut random, any)).collect()
}

fn rule(sets: &mut Arena, random: &mut Random, any: u64) -> Decided<Line> {
    let mut tests = vec![sets.equal(Field::EtherType, IPV4)?];
    for field in [Field::Source, Field::Destination] {
        if !random.per_cent(any) {
            let length = u32::try_from(8 + random.below(25)).expect("below 33");
            tests.push(sets.prefix(field, u128::from(random.below(1 << 32)) << 96, length)?);
        }
    }
    if random.per_cent(90) {
        tests.push(sets.equal(Field::Protocol, if random.per_cent(50) { 6 } else { 17 })?);
        let first = random.below(1 << 16);
        let last = if random.per_cent(50) { first } else { first + random.below(1000) };
        tests.push(sets.range(Field::DestinationPort, &(first.into()..=last.into()))?);
    }
    Ok((sets.all_of(&tests)?, random.per_cent(50)))
}

fn run(
    bencher: Bencher<'_, '_>,
    (length, any): (usize, u64),
    accepted: fn(&mut Arena, &[Line], bool) -> Decided<Bdd>,
) {
    bencher.bench(|| {
        let mut sets = Arena::new(BUDGET);
        let rules = chain(&mut sets, length, any).expect("rules are small");
        accepted(&mut sets, &rules, false).map(|_| sets.len())
    });
}

#[divan::bench(args = SIZES, max_time = 3)]
fn every_rule_names_both_addresses(bencher: Bencher<'_, '_>, length: usize) {
    run(bencher, (length, 0), accepted);
}

#[divan::bench(args = SIZES, max_time = 3, sample_count = 3)]
fn one_in_twenty_names_none(bencher: Bencher<'_, '_>, length: usize) {
    run(bencher, (length, 5), accepted);
}

#[divan::bench(args = SIZES, max_time = 3, sample_count = 3)]
fn one_in_four_names_none(bencher: Bencher<'_, '_>, length: usize) {
    run(bencher, (length, 25), accepted);
}

/// The orders of building, for the choice among them.
#[divan::bench(args = [(5_000, 0), (5_000, 5), (5_000, 25)], max_time = 3, sample_count = 3)]
fn order_from_the_last(bencher: Bencher<'_, '_>, chain: (usize, u64)) {
    run(bencher, chain, from_the_last);
}

#[divan::bench(args = [(5_000, 0), (5_000, 5), (5_000, 25)], max_time = 3, sample_count = 3)]
fn order_from_the_first(bencher: Bencher<'_, '_>, chain: (usize, u64)) {
    run(bencher, chain, from_the_first);
}

/// A host that was recorded.
fn snapshot() -> Snapshot {
    serde_json::from_str(include_str!("../tests/hosts/demo.json")).expect("a snapshot")
}

/// A random rule as nft would load it.
fn loaded(random: &mut Random, handle: u64) -> Rule {
    let register = Register(1);
    let load = |base, offset, length| Expr::Payload { destination: register, base, offset, length };
    let cmp = |data: &[u8]| Expr::Cmp { source: register, op: Compare::Eq, data: Bytes(data.to_vec()) };
    let mut exprs = Vec::new();
    for offset in [12, 16] {
        let address = u32::try_from(random.below(1 << 32)).expect("32 bits").to_be_bytes();
        let octets = 2 + u32::try_from(random.below(3)).expect("small");
        exprs.extend([load(PayloadBase::Network, offset, octets), cmp(&address[..octets as usize])]);
    }
    let protocol = if random.per_cent(50) { 6 } else { 17 };
    exprs.extend([Expr::Meta { destination: register, key: "l4proto".to_owned() }, cmp(&[protocol])]);
    let port = u16::try_from(random.below(1 << 16)).expect("16 bits").to_be_bytes();
    exprs.extend([load(PayloadBase::Transport, 2, 2), cmp(&port)]);
    let verdict = if random.per_cent(50) { Verdict::Accept } else { Verdict::Drop };
    exprs.push(Expr::Immediate { destination: Register(0), data: Data::Verdict(verdict) });
    Rule { handle, comment: None, counter: None, exprs }
}

fn table(length: usize) -> Table {
    let mut random = Random(0x6b76_6d6e_6574);
    let base = BaseChain {
        kind: "filter".to_owned(),
        hook: Hook::Forward,
        priority: 0,
        policy: Policy::Drop,
        devices: Vec::new(),
    };
    let rules = (1..=length as u64).map(|handle| loaded(&mut random, handle)).collect();
    Table {
        generation: Generation::NfTables,
        family: Family::Ip,
        name: "t".to_owned(),
        handle: 1,
        dormant: false,
        owner: None,
        comment: None,
        chains: vec![Chain { name: "c".to_owned(), handle: 1, base: Some(base), rules }],
        sets: Vec::new(),
        objects: Vec::new(),
        flowtables: Vec::new(),
    }
}

#[divan::bench(args = [150, 1_000, 5_000], max_time = 3, sample_count = 5)]
fn base_chain_of_random_rules(bencher: Bencher<'_, '_>, length: usize) {
    let (snapshot, table) = (snapshot(), table(length));
    let facts = Facts::new(&snapshot);
    bencher.bench(|| {
        let mut all = HostSets::new(&facts, BUDGET);
        let input = all.sets.equal(Field::EtherType, IPV4).expect("small");
        all.through(&table, &table.chains[0], Family::Ip, input, &mut Headers::default()).passes
    });
}

#[divan::bench(max_time = 3)]
fn every_base_chain_of_the_recorded_host(bencher: Bencher<'_, '_>) {
    let snapshot = snapshot();
    let facts = Facts::new(&snapshot);
    bencher.bench(|| {
        let mut all = HostSets::new(&facts, BUDGET);
        let input = all.sets.equal(Field::EtherType, IPV4).expect("small");
        let tables = snapshot.nf_tables.items().iter().chain(snapshot.xtables_legacy.items());
        let mut passed = 0;
        for table in tables.filter(|table| matches!(table.family, Family::Ip | Family::Inet)) {
            for chain in table.chains.iter().filter(|chain| chain.base.is_some()) {
                let passage = all.through(table, chain, Family::Ip, input, &mut Headers::default());
                passed += usize::from(passage.passes != Bdd::NONE);
            }
        }
        passed
    });
}
