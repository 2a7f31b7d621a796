//! Damage of every kind is found, and named with its file and place.

mod common;

use std::path::PathBuf;

use common::{archive, open, write};
use levada_checkpoint::{CheckpointError, Manifest};
use levada_core::random::SplitMix64;
use levada_testing::MemoryDisk;

const FIRST: &str = "/checkpoints/data-00000001-r5-1.blocks";
const SECOND: &str = "/checkpoints/data-00000002-r5-1.blocks";
const MANIFEST: &str = "/checkpoints/checkpoint-00000002.json";

fn written() -> (MemoryDisk, Manifest) {
    let disk = MemoryDisk::default();
    let directory = open(&disk).expect("the disk is empty");
    let first = write(&directory, 1, None).expect("the disk has room");
    let second = write(&directory, 2, Some(&first)).expect("the disk has room");
    (disk, second)
}

/// The file that an error names, and the place if it is in the middle.
fn place(error: &CheckpointError) -> (PathBuf, Option<u64>) {
    match error {
        CheckpointError::Damaged { path, offset, .. } => (path.clone(), Some(*offset)),
        CheckpointError::Unreadable { path, .. }
        | CheckpointError::Version { path, .. }
        | CheckpointError::Length { path, .. }
        | CheckpointError::Missing { path, .. } => (path.clone(), None),
        other => panic!("{other}"),
    }
}

#[test]
fn every_byte_that_is_changed_is_found() {
    let (disk, _) = written();
    let archive = archive(&disk);
    let mut changed = 0;
    for path in [FIRST, SECOND, MANIFEST] {
        let whole = disk.get(path).unwrap();
        for at in 0..whole.len() {
            // Each bit, and all of them.
            for mask in (0..8).map(|bit| 1 << bit).chain([0xff]) {
                let mut bytes = whole.clone();
                bytes[at] ^= mask;
                disk.put(path, bytes);
                let error = archive.verify(2).expect_err("the damage is found");
                let (found, offset) = place(&error);
                assert_eq!(found, PathBuf::from(path), "byte {at}: {error}");
                // At the beginning of a block or within it: never behind the damage.
                assert!(
                    offset.is_none_or(|offset| offset <= at as u64),
                    "byte {at}: {error}"
                );
                changed += 1;
            }
        }
        disk.put(path, whole);
    }
    assert!(changed > 20_000, "{changed}");
    archive.verify(2).unwrap();
}

#[test]
fn every_length_but_the_right_one_is_found() {
    let (disk, _) = written();
    let archive = archive(&disk);
    for path in [FIRST, SECOND, MANIFEST] {
        let whole = disk.get(path).unwrap();
        for length in 0..whole.len() {
            disk.put(path, &whole[..length]);
            let error = archive.verify(2).expect_err("the end is missed");
            assert_eq!(place(&error).0, PathBuf::from(path), "{length}: {error}");
            // Zeros are no end.
            let mut zeros = whole[..length].to_vec();
            zeros.resize(whole.len(), 0);
            disk.put(path, zeros);
            let error = archive.verify(2).expect_err("the zeros are found");
            assert_eq!(place(&error).0, PathBuf::from(path), "{length}: {error}");
        }
        for more in [&b"\n"[..], &[0; 25], &whole] {
            disk.put(path, [&whole, more].concat());
            let error = archive.verify(2).expect_err("it is too long");
            assert_eq!(place(&error).0, PathBuf::from(path), "{error}");
        }
        disk.put(path, whole);
    }
    archive.verify(2).unwrap();
}

/// What is cut off at the border of a block is undamaged as far as it goes; also if the manifest were wrong about it.
#[test]
fn an_end_at_the_border_of_a_block_is_missed_by_the_file_itself() {
    let (disk, mut manifest) = written();
    let archive = archive(&disk);
    let whole = disk.get(SECOND).unwrap();
    let mut borders = Vec::new();
    let mut at = 28;
    while whole[at] != 0xbf {
        borders.push(at);
        let name = u16::from_le_bytes([whole[at + 1], whole[at + 2]]);
        let payload = u32::from_le_bytes(whole[at + 11..at + 15].try_into().unwrap());
        at += 19 + usize::from(name) + payload as usize;
    }
    borders.push(at);
    assert_eq!(borders.len(), 10);
    for border in borders {
        disk.put(SECOND, &whole[..border]);
        manifest.files[1].bytes = border as u64;
        let error = archive.load(&manifest, |_| Ok(())).unwrap_err();
        assert_eq!(place(&error).0, PathBuf::from(SECOND), "{error}");
        let said = error.to_string();
        assert!(
            said.contains("up to the end of the file") || said.contains("a block of at most"),
            "{said}"
        );
    }
}

/// Single blocks that are read once more, in any order, from a file that is whole, damaged in between, or cut off.
#[test]
fn blocks_that_are_read_again_are_looked_at_again() {
    let (disk, manifest) = written();
    let archive = archive(&disk);
    let mut places = Vec::new();
    let entry = &manifest.files[1];
    archive
        .load_file(&manifest, entry, |at, block| {
            places.push((at, block.payload.to_vec()));
            Ok(())
        })
        .unwrap();
    assert!(places.len() > 5);
    let mut file = archive.open(entry).unwrap();
    let mut bytes = Vec::new();
    for (at, payload) in places.iter().rev() {
        let begin = bytes.len();
        let of_payload = file.read(*at, &mut bytes).unwrap();
        assert!(of_payload.start > begin && of_payload.end == bytes.len());
        assert_eq!(&bytes[of_payload], payload);
    }
    let whole = disk.get(SECOND).unwrap();
    let (last, _) = places.last().unwrap();
    let (begin, end) = (last.offset() as usize, whole.len() - 25);
    for at in begin..end {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        disk.put(SECOND, bytes);
        let mut file = archive.open(entry).unwrap();
        let error = file.read(*last, &mut Vec::new()).unwrap_err();
        assert_eq!(place(&error), (PathBuf::from(SECOND), Some(last.offset())));
        disk.put(SECOND, &whole[..at]);
        let mut file = archive.open(entry).unwrap();
        assert!(file.read(*last, &mut Vec::new()).is_err());
    }
}

/// An undamaged file that is not the one that the manifest means.
#[test]
fn another_file_under_the_name_is_found() {
    let (disk, manifest) = written();
    let archive = archive(&disk);
    disk.put(SECOND, disk.get(FIRST).unwrap());
    let error = archive.verify(2).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "{SECOND} is damaged at byte 12: expected the checkpoint and attempt of its name, found checkpoint 1, attempt 1"
        )
    );
    // The same attempt, once more, with the same blocks in another order.
    let other = MemoryDisk::default();
    let directory = open(&other).unwrap();
    let mut file = directory.create(2, common::RUN, 1).unwrap();
    let blocks = common::blocks(2, levada_state::RowKind::Put);
    for (kind, name, from, to, payload) in blocks.iter().rev() {
        let block = levada_checkpoint::Block {
            kind: *kind,
            name,
            from: *from,
            to: *to,
            payload,
        };
        file.append(&block).unwrap();
    }
    assert_eq!(file.finish().unwrap().bytes, manifest.files[1].bytes);
    disk.put(SECOND, other.get(SECOND).unwrap());
    let error = archive.verify(2).unwrap_err();
    assert!(
        error.to_string().contains("expected the checksum"),
        "{error}"
    );
    // And the manifest of another checkpoint.
    disk.put(
        MANIFEST,
        disk.get("/checkpoints/checkpoint-00000001.json").unwrap(),
    );
    let error = archive.verify(2).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{MANIFEST} is no manifest that can be used: it is that of checkpoint 1")
    );
}

#[test]
fn a_file_that_is_missing_is_found_before_anything_is_read() {
    let (disk, manifest) = written();
    let archive = archive(&disk);
    let whole = disk.get(FIRST).unwrap();
    levada_core::disk::Disk::remove(&disk, FIRST.as_ref()).unwrap();
    let error = archive.manifest(2).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{FIRST} is not there, and {MANIFEST} needs it")
    );
    let latest = archive.latest_complete().unwrap();
    assert!(latest.manifest.is_none(), "never silently another one");
    assert_eq!(latest.skipped.len(), 2);
    archive
        .load(&manifest, |_| panic!("no block is handed out"))
        .unwrap_err();
    disk.put(FIRST, whole);
    archive.verify(2).unwrap();
}

#[test]
fn who_reads_can_refuse_a_block_and_it_is_named() {
    let (disk, manifest) = written();
    let error = archive(&disk).load(&manifest, |block| match block.name {
        "bids -> revenue #1" => Err("no such edge".into()),
        _ => Ok(()),
    });
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the block of in-flight records of `bids -> revenue #1` from 0 to 1 at byte 147 of {FIRST} cannot be used"
        )
    );
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "no such edge");
}

/// Blocks larger than what is read at once.
#[test]
fn large_blocks_come_back() {
    let disk = MemoryDisk::default();
    let directory = open(&disk).unwrap();
    let mut file = directory.create(1, common::RUN, 1).unwrap();
    let sizes = [0, 1, 255 << 10, 256 << 10, (256 << 10) + 1, 3 << 20, 17, 0];
    let payload = |size: usize| (0..size).map(|n| (n % 251) as u8).collect::<Vec<_>>();
    let mut bytes = 28 + 25;
    for (n, size) in sizes.into_iter().enumerate() {
        let block = levada_checkpoint::Block {
            kind: levada_checkpoint::BlockKind::Keyed,
            name: "revenue",
            from: n as u32,
            to: 8,
            payload: &payload(size),
        };
        bytes += file.append(&block).unwrap();
    }
    let entry = file.finish().unwrap();
    assert_eq!((entry.bytes, entry.blocks), (bytes, sizes.len() as u64));
    let manifest = common::manifest(1, vec![entry]);
    directory.publish(&manifest).unwrap();
    let mut loaded = Vec::new();
    let archive = archive(&disk);
    archive
        .load(&manifest, |block| {
            assert!(block.payload == payload(block.payload.len()));
            loaded.push(block.payload.len());
            Ok(())
        })
        .unwrap();
    assert_eq!(loaded, sizes);
}

/// A trailer that says that it is the end, where it is not.
#[test]
fn what_follows_the_trailer_is_found() {
    let disk = MemoryDisk::default();
    let directory = open(&disk).unwrap();
    let mut entry = directory
        .create(1, common::RUN, 1)
        .unwrap()
        .finish()
        .unwrap();
    let mut bytes = disk.get(FIRST).unwrap();
    entry.bytes += 7;
    let trailer = bytes.len() - 25;
    bytes[trailer + 9..trailer + 17].copy_from_slice(&entry.bytes.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[trailer..trailer + 21]);
    bytes[trailer + 21..].copy_from_slice(&checksum.to_le_bytes());
    bytes.extend_from_slice(&[0; 7]);
    disk.put(FIRST, bytes);
    let manifest = common::manifest(1, vec![entry]);
    let error = archive(&disk).load(&manifest, |_| Ok(())).unwrap_err();
    assert!(
        error.to_string().contains("after which 7 bytes follow"),
        "{error}"
    );
}

/// Whatever is in a file, it is an error and no panic, also where checksums are right and lengths are not.
#[test]
fn anything_else_is_an_error() {
    let disk = MemoryDisk::default();
    let archive = archive(&disk);
    let directory = open(&disk).unwrap();
    let entry = directory
        .create(1, common::RUN, 1)
        .unwrap()
        .finish()
        .unwrap();
    let header = disk.get(FIRST).unwrap()[..28].to_vec();
    for seed in 0..20_000 {
        let mut random = SplitMix64::new(seed);
        let mut bytes = header.clone();
        for _ in 0..random.below(4) {
            let at = bytes.len();
            bytes.push([0xb1, 0xb3, 0xb8, 0xbf, 0][random.below(5) as usize]);
            bytes.extend_from_slice(&(random.below(30) as u16).to_le_bytes());
            bytes.extend_from_slice(&random.next().to_le_bytes());
            let length = match random.below(4) {
                0 => random.next() as u32,
                _ => random.below(40) as u32,
            };
            bytes.extend_from_slice(&length.to_le_bytes());
            let end = bytes.len() + 4 + random.below(70) as usize;
            let mut rest: Vec<_> = (bytes.len() + 4..end)
                .map(|_| random.next() as u8)
                .collect();
            if random.below(2) == 0 {
                // Names in ASCII get further.
                rest.iter_mut().for_each(|byte| *byte &= 0x7f);
            }
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(&bytes[at..]);
            hasher.update(&rest);
            bytes.extend_from_slice(&hasher.finalize().to_le_bytes());
            bytes.append(&mut rest);
        }
        let mut manifest = common::manifest(1, vec![entry.clone()]);
        manifest.files[0].bytes = bytes.len() as u64;
        disk.put(FIRST, bytes);
        archive
            .load(&manifest, |_| Ok(()))
            .expect_err("it has no trailer");
    }
}
