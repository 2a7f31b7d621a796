//! Checkpoints as the released versions wrote them (`data/checkpoints-v1`): they are read, and what is written today is the
//! same, byte by byte.

mod common;

use std::fs;
use std::path::Path;

use common::{archive, load, names, open, write};
use levada_checkpoint::{Archive, Manifest};
use levada_runtime::Environment;
use levada_testing::MemoryDisk;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/checkpoints-v1");

/// A whole checkpoint, and one that is based on it.
fn written() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let directory = open(&disk).expect("the disk is empty");
    let first = write(&directory, 1, None).expect("the disk has room");
    write(&directory, 2, Some(&first)).expect("the disk has room");
    disk
}

fn golden_names() -> Vec<String> {
    let entries = fs::read_dir(GOLDEN).expect("the golden files are there");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.expect("the directory can be read").file_name();
        name.into_string().expect("our names are ASCII")
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort_unstable();
    names
}

#[test]
fn what_is_written_today_is_what_was_written() {
    let disk = written();
    let mut today = names(&disk);
    today.retain(|name| name != ".lock");
    assert_eq!(today, golden_names());
    assert_eq!(today.len(), 4);
    for name in today {
        let golden = fs::read(Path::new(GOLDEN).join(&name)).unwrap();
        let today = disk.get(Path::new(common::DIR).join(&name)).unwrap();
        assert!(golden == today, "{name} is written differently");
    }
}

#[test]
fn what_was_written_is_read() {
    let archive = Archive::new(Environment::system().disk, GOLDEN);
    let found = archive.list().unwrap();
    let numbers: Vec<_> = found.iter().map(|found| found.number).collect();
    assert_eq!(numbers, [2, 1]);
    for found in found {
        let manifest = found.manifest.unwrap();
        let expected = common::manifest(found.number, manifest.files.clone());
        assert_eq!(manifest, expected);
        load(&archive, &manifest).unwrap();
    }
    let second = archive.verify(2).unwrap();
    assert_eq!(second.chain(), [1, 2]);
    assert!(second.own_bytes() < second.bytes());
}

#[test]
fn what_is_in_it_is_counted_without_the_program() {
    let archive = Archive::new(Environment::system().disk, GOLDEN);
    let contents = archive.contents(&archive.manifest(2).unwrap()).unwrap();
    assert_eq!(contents.len(), 8);
    let keyed = contents.iter().filter(|contents| contents.rows.is_some());
    let keyed: Vec<_> = keyed.collect();
    assert_eq!(keyed.len(), 1);
    assert_eq!(
        (keyed[0].blocks, keyed[0].bytes, keyed[0].rows),
        (2, 102, Some(6))
    );
    let blocks: u64 = contents.iter().map(|contents| contents.blocks).sum();
    assert_eq!(blocks, 18);
}

/// The manifest of a later version, with its checksum.
fn put_manifest(disk: &MemoryDisk, change: impl FnOnce(String) -> String) {
    let path = "/checkpoints/checkpoint-00000002.json";
    let text = String::from_utf8(disk.get(path).expect("it was written")).expect("JSON is text");
    let (before, _) = text.rsplit_once("  \"checksum\"").expect("it has one");
    let before = change(before.to_owned());
    let checksum = crc32fast::hash(before.as_bytes());
    disk.put(path, format!("{before}  \"checksum\": {checksum}\n}}\n"));
}

#[test]
fn fields_of_later_versions_are_skipped() {
    let disk = written();
    put_manifest(&disk, |text| {
        let text = text.replace("\"run\"", "\"host\": {\"cores\": [1, 2]},\n  \"run\"");
        text.replace("\"blocks\"", "\"compression\": null, \"blocks\"")
    });
    let manifest: Manifest = archive(&disk).verify(2).unwrap();
    assert_eq!(manifest.run, common::RUN);
}

#[test]
fn a_later_format_is_refused_in_a_sentence() {
    let refused = |from: &str, to: &str| {
        let disk = written();
        put_manifest(&disk, |text| {
            assert!(text.contains(from), "{text}");
            text.replace(from, to)
        });
        archive(&disk).manifest(2).unwrap_err().to_string()
    };
    let path = "/checkpoints/checkpoint-00000002.json";
    assert_eq!(
        refused(
            "\"version\": 1,\n  \"codec\"",
            "\"version\": 2,\n  \"codec\""
        ),
        format!("{path} was written by a newer Levada: its version is 2, and this program reads 1")
    );
    assert_eq!(
        refused("\"codec\": 1", "\"codec\": 7"),
        format!("{path} was written by a newer Levada: its codec is 7, and this program reads 1")
    );
    assert_eq!(
        refused("levada checkpoint", "levada log"),
        format!("{path} is no manifest that can be used: its magic is `levada log`")
    );
    // A name that leads elsewhere is nothing that we wrote.
    let refused = refused("data-00000001-r5-1.blocks", "../../etc/passwd");
    assert_eq!(
        refused,
        format!(
            "{path} is no manifest that can be used: \
             it names `../../etc/passwd`, which cannot be one of its files"
        )
    );
}
