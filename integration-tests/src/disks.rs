//! Real disks with real file systems, made without mounting anything: `mke2fs -d` fills them, `debugfs` changes files inside.

use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use model::ByteCount;

/// A small file system of one's own, unmounted at the end.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of so many MiB; only root may.
    pub fn mount(path: &Path, mib: u64) -> Result<Self> {
        let size = format!("size={mib}m");
        run_tool(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path))
            .context("this test mounts a small file system, which only root may")?;
        Ok(Self(path.to_owned()))
    }

    /// Mounts it read-only, or for writing again.
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        let option = if read_only { "remount,ro" } else { "remount,rw" };
        run_tool(Command::new("mount").args(["-o", option]).arg(&self.0)).map(drop)
    }

    /// Takes all room that is left; the file that does is given, to be removed.
    pub fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("filler");
        let mut file = File::create(&path)?;
        let (mut size, block) = (64 << 10, vec![1; 64 << 10]);
        while size > 0 {
            // Smaller and smaller, until not a byte more goes in.
            match file.write(&block[..size]) {
                Ok(written) if written > 0 => {}
                _ => size /= 2,
            }
        }
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = run_tool(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// Runs a tool to its end.
///
/// Errors: it cannot be started or fails; its output is in the error.
pub fn run_tool(command: &mut Command) -> Result<String> {
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    let output = command.output().with_context(|| format!("{command:?} cannot be started"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Makes a raw disk of `size_mib` with one ext4 file system that holds the tree `from`.
pub fn make_ext4(path: &Path, size_mib: u64, from: &Path) -> Result<()> {
    File::create(path)?.set_len(size_mib << 20)?;
    run_tool(Command::new("mke2fs").args(["-q", "-t", "ext4", "-F", "-d"]).arg(from).arg(path))?;
    Ok(())
}

/// Turns a raw disk into a qcow2 one beside it, and removes the raw one.
pub fn turn_into_qcow2(raw: &Path) -> Result<PathBuf> {
    let qcow2 = raw.with_extension("qcow2");
    convert((raw, "raw"), (&qcow2, "qcow2"))?;
    std::fs::remove_file(raw)?;
    Ok(qcow2)
}

/// Writes a file into the ext4 file system of a raw disk.
pub fn write_file(disk: &Path, content: &Path, name: &str) -> Result<()> {
    let request = format!("write {} {name}", content.display());
    run_tool(Command::new("debugfs").args(["-w", "-R", &request]).arg(disk))?;
    Ok(())
}

/// Removes a file from the ext4 file system of a raw disk.
pub fn remove_file(disk: &Path, name: &str) -> Result<()> {
    run_tool(Command::new("debugfs").args(["-w", "-R", &format!("rm {name}")]).arg(disk))?;
    Ok(())
}

/// Checks the ext4 file system of a raw disk.
pub fn check_ext4(disk: &Path) -> Result<()> {
    run_tool(Command::new("e2fsck").args(["-f", "-n"]).arg(disk))?;
    Ok(())
}

/// Makes a disk of another format with the same bytes.
pub fn convert(from: (&Path, &str), to: (&Path, &str)) -> Result<()> {
    let mut command = Command::new("qemu-img");
    run_tool(command.args(["convert", "-f", from.1, "-O", to.1]).arg(from.0).arg(to.0))?;
    Ok(())
}

/// The BLAKE3 of what a guest sees of a disk.
pub fn raw_digest(path: &Path, format: &str) -> Result<blake3::Hash> {
    if format == "raw" {
        return digest(path);
    }
    let dir = tempfile::tempdir()?;
    let raw = dir.path().join("raw");
    convert((path, format), (&raw, "raw"))?;
    digest(&raw)
}

/// Whether two disks of any format hold the same bytes. `qemu-img compare` reads both.
pub fn are_equal(a: (&Path, &str), b: (&Path, &str)) -> Result<bool> {
    let output =
        Command::new("qemu-img").args(["compare", "-f", a.1, "-F", b.1]).arg(a.0).arg(b.0).output()?;
    match output.status.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => bail!("qemu-img compare failed: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// The BLAKE3 of a file.
pub fn digest(path: &Path) -> Result<blake3::Hash> {
    let mut reader = BufReader::new(File::open(path).with_context(|| path.display().to_string())?);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            count => hasher.update(&buffer[..count]),
        };
    }
}

/// Copies a file and keeps its holes.
pub fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    run_tool(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to))?;
    Ok(())
}

/// Bytes that do not compress, the same for the same seed: a 64-bit xorshift. Whole words of 8 bytes only.
///
/// Panics: `size` does not fit into memory.
#[must_use]
pub fn noise(size: ByteCount, seed: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ (seed + 1).wrapping_mul(0xd129_42a1_d1f3_5e2d);
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(usize::try_from(size.0 / 8).expect("a small size")).flatten().collect()
}
