//! Small files of the user's and of a node's, replaced whole.
//!
//! Promises: a reader sees the old file or the new one, never a part, also after a power cut; what may hold a key is
//! readable by its owner alone from its first byte on; files are read up to a bound. Does not: lock.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The largest file read, in bytes: a context with three PEM texts is a tenth of it.
pub const FILE_MAX_BYTES: u64 = 64 * 1024;

/// Replaces `path`, for its owner's eyes only.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let draft = folder.join(format!(".{}.{}.new", name.to_string_lossy(), std::process::id()));
    // Left over from a process of the same number that died here.
    let _ = std::fs::remove_file(&draft);
    let written = fill(&draft, bytes).and_then(|()| std::fs::rename(&draft, path));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&draft);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

/// Reads a file of at most [`FILE_MAX_BYTES`] of text.
pub fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(FILE_MAX_BYTES + 1).read_to_string(&mut text)?;
    match read as u64 > FILE_MAX_BYTES {
        true => Err(io::Error::other(format!("more than {FILE_MAX_BYTES} bytes; such files are smaller"))),
        false => Ok(text),
    }
}

/// Makes a folder that only its owner may enter, and those above it.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn fill(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replaced_whole_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(read(&path).unwrap(), "new");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_huge_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, vec![b'x'; FILE_MAX_BYTES as usize + 1]).unwrap();
        assert!(read(&path).is_err());
    }
}
