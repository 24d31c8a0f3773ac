//! Certificates for a cluster of one's own: what `nexus cert` writes. For trials and small clusters; who has an authority uses theirs.
//!
//! A directory holds `ca.pem` and `ca.key`, and for each node `NAME.pem` and `NAME.key`. Keys are readable by their owner only. Nothing is
//! ever overwritten.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use thiserror::Error;

use super::config::TlsFiles;
use crate::NodeName;

/// Clocks of nodes may differ by so much before a new certificate is refused.
const SKEW: Duration = Duration::from_secs(3_600);

/// Nothing was made, or not all of it.
#[derive(Debug, Error)]
pub enum CertError {
    /// A file is there already.
    #[error("`{}` exists and is not overwritten: move it away, or choose another directory", .0.display())]
    Exists(PathBuf),
    /// A file cannot be written or read.
    #[error("`{}`: {error}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The key of the authority is none, or a name cannot stand in a certificate.
    #[error("no certificate for {what}: {error}")]
    Content {
        /// Of whom.
        what: String,
        /// Why.
        error: rcgen::Error,
    },
}

/// An authority, kept in a directory.
pub struct CertificateAuthority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// Makes an authority in `directory`, which is made too (for its owner only) if it is not there. `now` is the wall time since 1970 (UTC); the
    /// certificate holds for `validity` from then on.
    ///
    /// # Errors
    /// It exists already, or cannot be written.
    pub fn create(directory: &Path, now: Duration, validity: Duration) -> Result<Self, CertError> {
        let file = |error| CertError::File { file: directory.into(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(file)?;
        let content = |error| CertError::Content { what: "the authority".into(), error };
        let key = KeyPair::generate().map_err(content)?;
        let mut params = authority().map_err(content)?;
        params.not_before = (UNIX_EPOCH + now - SKEW).into();
        params.not_after = (UNIX_EPOCH + now + validity).into();
        let certificate = params.self_signed(&key).map_err(content)?;
        write_pair(directory, "ca", &certificate.pem(), &key.serialize_pem())?;
        Ok(Self { directory: directory.into(), issuer: Issuer::new(params, key) })
    }

    /// The authority that [`CertificateAuthority::create`] made in `directory`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(directory: &Path) -> Result<Self, CertError> {
        let path = directory.join("ca.key");
        let pem = fs::read_to_string(&path).map_err(|error| CertError::File { file: path.clone(), error })?;
        let content = |error| CertError::Content { what: format!("`{}`", path.display()), error };
        let key = KeyPair::from_pem(&pem).map_err(content)?;
        // Name and uses are the same for every authority made here, so the key alone gives the issuer back.
        let params = authority().map_err(content)?;
        Ok(Self { directory: directory.into(), issuer: Issuer::new(params, key) })
    }

    /// Writes the certificate and key of `node`, reachable by `hosts` (names or IPs), and says where they are.
    ///
    /// # Errors
    /// They exist already, or cannot be written.
    pub fn issue(
        &self,
        node: &NodeName,
        hosts: &[String],
        now: Duration,
        validity: Duration,
    ) -> Result<TlsFiles, CertError> {
        let content = |error| CertError::Content { what: format!("node `{node}`"), error };
        let mut names = vec![node.to_string()];
        names.extend(hosts.iter().filter(|host| **host != names[0]).cloned().collect::<Vec<_>>());
        let mut params = CertificateParams::new(names).map_err(content)?;
        params.distinguished_name.push(DnType::CommonName, node.as_str());
        params.not_before = (UNIX_EPOCH + now - SKEW).into();
        params.not_after = (UNIX_EPOCH + now + validity).into();
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(content)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(content)?;
        let (certificate, key) =
            write_pair(&self.directory, node.as_str(), &certificate.pem(), &key.serialize_pem())?;
        Ok(TlsFiles { certificate, key, ca: self.directory.join("ca.pem") })
    }
}

/// What every authority made here says of itself, its times apart.
fn authority() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "Nexus cluster authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// Writes `NAME.pem` for all to read and `NAME.key` for the owner. Neither is touched if either is there.
fn write_pair(
    directory: &Path,
    name: &str,
    certificate: &str,
    key: &str,
) -> Result<(PathBuf, PathBuf), CertError> {
    let paths = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
    for path in [&paths.0, &paths.1] {
        if path.symlink_metadata().is_ok() {
            return Err(CertError::Exists(path.clone()));
        }
    }
    write_new(&paths.1, 0o600, key)?;
    write_new(&paths.0, 0o644, certificate)?;
    Ok(paths)
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), CertError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => CertError::Exists(path.into()),
        _ => CertError::File { file: path.into(), error },
    })
}
