//! Finding a program.

use std::env;
use std::path::PathBuf;

/// The path of a program, which the Debian package holds.
///
/// # Panics
/// If it is not installed, with what to do.
#[must_use]
pub fn tool(name: &str, package: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is missing: apt-get install {package}"))
}
