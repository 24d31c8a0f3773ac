//! Mutual TLS 1.3 from PEM files, read again without a restart.
//!
//! Before each handshake the files' stamps (time of change, length) are compared with those that were read; if one differs, all are read
//! anew. What does not fit together, a certificate that is new beside a key that is not yet, leaves the former in use and is tried again
//! at the next handshake. Connections that stand are not touched. Sessions are not resumed: each handshake checks both certificates.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio_rustls::rustls::client::{Resumption, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error as RustlsError, RootCertStore, ServerConfig,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::config::TlsFiles;
use super::refusal::{HandshakeError, Refusal};
use crate::NodeName;

/// Bytes of a PEM file at most: a chain or a bundle of authorities is far smaller.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The label of the keying material that binds our proof to the TLS session.
const EXPORT_LABEL: &[u8] = b"EXPERIMENTAL nexus handshake";

/// The files cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {what} `{}`: {error}; `nexus cert` makes one, and the node's user must be able to read it", file.display())]
    Read {
        /// What it should hold.
        what: &'static str,
        /// Where.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{}` holds no {what} in PEM form (`-----BEGIN …`): {detail}", file.display())]
    Content {
        /// What it should hold.
        what: &'static str,
        /// Where.
        file: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Certificate, key and authorities do not make a configuration.
    #[error(
        "`{}` and `{}` do not fit together: {detail}; replace both by a pair that was made together",
        certificate.display(), key.display()
    )]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

/// The times of change (seconds and nanoseconds) and lengths of the files.
type Stamp = [Option<(i64, i64, u64)>; 3];

struct Loaded {
    stamp: Stamp,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// The configurations in use.
pub(super) struct Tls {
    files: TlsFiles,
    loaded: Mutex<Arc<Loaded>>,
    /// Why the last attempt to read the files again failed.
    failed: Mutex<Option<String>>,
}

impl Tls {
    /// Reads the files. Blocks: for a node's start.
    pub(super) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let loaded = Mutex::new(Arc::new(Loaded::read(&files)?));
        Ok(Self { files, loaded, failed: Mutex::default() })
    }

    /// Reads the files again now. Blocks.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        match Loaded::read(&self.files) {
            Ok(loaded) => {
                *self.loaded.lock() = Arc::new(loaded);
                *self.failed.lock() = None;
                Ok(())
            }
            Err(error) => {
                *self.failed.lock() = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// Why the files could not be read again, if they could not.
    pub(super) fn failed(&self) -> Option<String> {
        self.failed.lock().clone()
    }

    /// The configurations of now.
    async fn current(self: &Arc<Self>) -> Arc<Loaded> {
        let tls = self.clone();
        let look = spawn_blocking(move || {
            if stamp(&tls.files) != tls.loaded.lock().stamp
                && let Err(error) = tls.reload()
            {
                tracing::warn!(%error, "certificates changed and cannot be read; the former stay in use");
            }
        });
        // The task ends early only with the runtime.
        _ = look.await;
        self.loaded.lock().clone()
    }

    /// The server's side of a handshake.
    pub(super) async fn accept(self: &Arc<Self>, stream: TcpStream) -> Result<Secured, HandshakeError> {
        let server = self.current().await.server.clone();
        let stream = TlsAcceptor::from(server).accept(stream).await.map_err(|error| classify(&error))?;
        Secured::new(stream.into())
    }

    /// The client's side of a handshake with `host`, a name or an IP.
    pub(super) async fn connect(
        self: &Arc<Self>,
        host: &str,
        stream: TcpStream,
    ) -> Result<Secured, HandshakeError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            HandshakeError::Unreachable(format!("`{host}` is neither a host's name nor an IP"))
        })?;
        let client = self.current().await.client.clone();
        let stream =
            TlsConnector::from(client).connect(name, stream).await.map_err(|error| classify(&error))?;
        Secured::new(stream.into())
    }
}

/// A stream under TLS, with what binds a proof to it.
pub(super) struct Secured {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) binding: [u8; 32],
}

impl Secured {
    fn new(stream: TlsStream<TcpStream>) -> Result<Self, HandshakeError> {
        let exported = match &stream {
            TlsStream::Client(stream) => {
                stream.get_ref().1.export_keying_material([0; 32], EXPORT_LABEL, None)
            }
            TlsStream::Server(stream) => {
                stream.get_ref().1.export_keying_material([0; 32], EXPORT_LABEL, None)
            }
        };
        let binding = exported.map_err(|error| classify_tls(&error))?;
        Ok(Self { stream, binding })
    }

    /// Checks that the other's certificate names `node`: one node's certificate must not speak for another.
    pub(super) fn check_name(&self, node: &NodeName) -> Result<(), HandshakeError> {
        let certificate = self.stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let names = || {
            let parsed = ParsedCertificate::try_from(certificate?).ok()?;
            verify_server_name(&parsed, &ServerName::try_from(node.as_str()).ok()?).ok()
        };
        names().ok_or_else(|| {
            let detail =
                format!("the certificate does not name node `{node}`; make one with `nexus cert {node}`");
            HandshakeError::refused(Refusal::BadCertificate, detail)
        })
    }
}

impl Loaded {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        // Stamped before the reading: a file that changes meanwhile is read again.
        let stamp = stamp(files);
        let chain = certificates("certificate", &files.certificate)?;
        let bytes = contents("private key", &files.key)?;
        let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| TlsError::Content {
            what: "private key",
            file: files.key.clone(),
            detail: error.to_string(),
        })?;
        let mut roots = RootCertStore::empty();
        let authority = |detail: String| TlsError::Content {
            what: "certificate of an authority",
            file: files.ca.clone(),
            detail,
        };
        for certificate in certificates("certificate of an authority", &files.ca)? {
            roots.add(certificate).map_err(|error| authority(error.to_string()))?;
        }

        let roots = Arc::new(roots);
        let provider = Arc::new(ring::default_provider());
        let pair = |error: RustlsError| TlsError::Pair {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            detail: error.to_string(),
        };
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| authority(error.to_string()))?;
        let mut server = server_builder(&provider)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(pair)?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(pair)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(pair)?;
        client.resumption = Resumption::disabled();
        Ok(Self { stamp, server: Arc::new(server), client: Arc::new(client) })
    }
}

type ServerBuilder = tokio_rustls::rustls::ConfigBuilder<ServerConfig, tokio_rustls::rustls::WantsVerifier>;

fn server_builder(provider: &Arc<CryptoProvider>) -> Result<ServerBuilder, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider.clone());
    Ok(builder.with_protocol_versions(&[&TLS13]).expect("ring's provider has the suites of TLS 1.3"))
}

fn stamp(files: &TlsFiles) -> Stamp {
    [&files.certificate, &files.key, &files.ca].map(|file| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
    })
}

fn contents(what: &'static str, file: &Path) -> Result<Vec<u8>, TlsError> {
    let read = || {
        let length = std::fs::metadata(file)?.len();
        if length > FILE_BYTES_MAX {
            let detail = format!("it has {length} bytes, {FILE_BYTES_MAX} are allowed");
            return Err(io::Error::other(detail));
        }
        std::fs::read(file)
    };
    read().map_err(|error| TlsError::Read { what, file: file.into(), error })
}

fn certificates(what: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |detail: String| TlsError::Content { what, file: file.into(), detail };
    let bytes = contents(what, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| content(error.to_string()))?;
    if found.is_empty() {
        return Err(content("no section of this kind".into()));
    }
    Ok(found)
}

/// What an error of a stream, plain or TLS, says of the handshake.
pub(super) fn classify(error: &io::Error) -> HandshakeError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<RustlsError>()) {
        Some(error) => classify_tls(error),
        None => HandshakeError::refused(Refusal::Closed, error.to_string()),
    }
}

fn classify_tls(error: &RustlsError) -> HandshakeError {
    let refusal = match error {
        RustlsError::InvalidCertificate(error) => match error {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Refusal::ExpiredCertificate,
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Refusal::UntrustedCertificate,
            _ => Refusal::BadCertificate,
        },
        RustlsError::NoCertificatesPresented => Refusal::BadCertificate,
        RustlsError::AlertReceived(alert) => return HandshakeError::ByPeer(alerted(*alert)),
        _ => Refusal::Malformed,
    };
    HandshakeError::refused(refusal, error.to_string())
}

const fn alerted(alert: AlertDescription) -> Refusal {
    match alert {
        AlertDescription::CertificateExpired => Refusal::ExpiredCertificate,
        AlertDescription::UnknownCA | AlertDescription::DecryptError => Refusal::UntrustedCertificate,
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRequired
        | AlertDescription::CertificateUnknown => Refusal::BadCertificate,
        AlertDescription::CloseNotify => Refusal::Closed,
        _ => Refusal::Malformed,
    }
}
