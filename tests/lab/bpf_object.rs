//! An object file with an XDP program that drops everything, for `ip link set DEVICE xdpdrv object FILE section
//! xdp`. Two instructions need no compiler: the file is written by hand (ELF-64, System V ABI, chapter 4).

/// `r0 = XDP_DROP; exit`.
const CODE: [u8; 16] = [0xb7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
const LICENSE: &[u8; 4] = b"GPL\0";
/// The names of sections and of the program.
const NAMES: &[u8] = b"\0.strtab\0xdp\0license\0.symtab\0drop\0";

const HEADER: usize = 64;
const RELOCATABLE: u16 = 1;
const BPF: u16 = 247;

struct Section {
    name: &'static str,
    kind: u32,
    flags: u64,
    content: Vec<u8>,
    link: u32,
    info: u32,
    entry: u64,
}

/// The object file.
pub(crate) fn xdp_drop() -> Vec<u8> {
    let section =
        |name, kind, flags, content| Section { name, kind, flags, content, link: 0, info: 0, entry: 0 };
    // A global function (0x12) in section 2, as long as the code.
    let mut symbols = vec![0; 24];
    symbols.extend(name("drop").to_le_bytes());
    symbols.extend([0x12, 0, 2, 0]);
    symbols.extend(0_u64.to_le_bytes());
    symbols.extend((CODE.len() as u64).to_le_bytes());
    let sections = [
        section(".strtab", 3, 0, NAMES.to_vec()),
        section("xdp", 1, 6, CODE.to_vec()),
        section("license", 1, 3, LICENSE.to_vec()),
        Section { link: 1, info: 1, entry: 24, ..section(".symtab", 2, 0, symbols) },
    ];
    let mut contents = Vec::new();
    let mut table = vec![0; HEADER];
    for section in sections {
        contents.resize(contents.len().next_multiple_of(8), 0);
        table.extend(name(section.name).to_le_bytes());
        table.extend(section.kind.to_le_bytes());
        let numbers = [section.flags, 0, (HEADER + contents.len()) as u64, section.content.len() as u64];
        table.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        table.extend([section.link, section.info].iter().flat_map(|number| number.to_le_bytes()));
        table.extend([8, section.entry].iter().flat_map(|number| number.to_le_bytes()));
        contents.extend(section.content);
    }
    contents.resize(contents.len().next_multiple_of(8), 0);
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([RELOCATABLE, BPF].iter().flat_map(|number| number.to_le_bytes()));
    file.extend(1_u32.to_le_bytes());
    file.extend([0, 0, (HEADER + contents.len()) as u64].iter().flat_map(|number| number.to_le_bytes()));
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 0, 0, 64, 5, 1].iter().flat_map(|number| number.to_le_bytes()));
    file.extend(contents);
    file.extend(table);
    file
}

/// Where a name begins among [`NAMES`].
fn name(name: &str) -> u32 {
    let wanted = [&[0], name.as_bytes(), &[0]].concat();
    let at = NAMES.windows(wanted.len()).position(|window| window == wanted).expect("a name of the table");
    u32::try_from(at + 1).expect("the table is short")
}
