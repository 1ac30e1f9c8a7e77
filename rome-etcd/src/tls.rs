//! Certificates and keys, and what goes wrong with them.
//!
//! A certificate that is not to be trusted, or that the server does not accept, stays so until somebody changes a file
//! or a URL. Such failures are therefore told apart from those that pass: [`explain`] finds them in an error's chain of
//! causes and says what to do.

use etcd_client::{Certificate, Identity, TlsOptions};
use rome_core::store::StoreError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Encryption between client and members.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EtcdTls {
    /// A PEM file with the certificates of the authorities to trust. None is those that the system trusts.
    pub ca: Option<PathBuf>,
    /// PEM files with the client's own certificate and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl EtcdTls {
    /// Reads and checks the files.
    pub(crate) async fn load(&self, handshake_timeout: Duration) -> Result<TlsOptions, StoreError> {
        let mut options = TlsOptions::new().timeout(handshake_timeout);
        options = match &self.ca {
            None => options.with_enabled_roots(),
            Some(file) => {
                let pem = read(file).await?;
                check_certificates(file, &pem)?;
                options.ca_certificate(Certificate::from_pem(pem))
            }
        };
        if let Some((cert, key)) = &self.identity {
            let (cert_pem, key_pem) = (read(cert).await?, read(key).await?);
            check_certificates(cert, &cert_pem)?;
            if PrivateKeyDer::from_pem_slice(&key_pem).is_err() {
                return Err(unfit(key, "no private key in PEM format"));
            }
            options = options.identity(Identity::from_pem(cert_pem, key_pem));
        }
        Ok(options)
    }

    /// The same for a handshake by itself. Trusts only what `ca` names.
    async fn load_plain(&self) -> Result<ClientConfig, StoreError> {
        let unusable =
            |error: rustls::Error| StoreError::Invalid(format!("the files that the etcd URL names: {error}"));
        let mut roots = RootCertStore::empty();
        if let Some(file) = &self.ca {
            roots.add_parsable_certificates(certificates(&read(file).await?));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots);
        let Some((cert, key)) = &self.identity else { return Ok(config.with_no_client_auth()) };
        let chain = certificates(&read(cert).await?);
        let key = PrivateKeyDer::from_pem_slice(&read(key).await?).map_err(|_| unfit(key, "no private key"))?;
        config.with_client_auth_cert(chain, key).map_err(unusable)
    }
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

async fn read(file: &Path) -> Result<Vec<u8>, StoreError> {
    tokio::fs::read(file).await.map_err(|error| {
        StoreError::Invalid(format!("the file {} that the etcd URL names can't be read: {error}", file.display()))
    })
}

/// Refuses a file without certificates, which would trust nobody.
fn check_certificates(file: &Path, pem: &[u8]) -> Result<(), StoreError> {
    let mut certificates = CertificateDer::pem_slice_iter(pem);
    match certificates.next() {
        Some(Ok(_)) if certificates.all(|certificate| certificate.is_ok()) => Ok(()),
        _ => Err(unfit(file, "no certificates in PEM format")),
    }
}

fn unfit(file: &Path, has: &str) -> StoreError {
    StoreError::Invalid(format!("the file {} that the etcd URL names has {has}", file.display()))
}

/// The permanent error, where a failure is one of certificates or of the TLS protocol itself.
pub(crate) fn explain(error: &(dyn Error + 'static)) -> Option<StoreError> {
    let error = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>())?;
    Some(match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => StoreError::Unsuitable(
            "etcd's certificate was issued by an authority that is not trusted here; name the authority's file in the URL (etcds://...?cacert=FILE)"
                .to_owned(),
        ),
        rustls::Error::InvalidCertificate(
            reason @ (CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }),
        ) => StoreError::Unsuitable(format!(
            "etcd's certificate is another host's ({reason}); name the host in the URL as in its certificate"
        )),
        rustls::Error::InvalidCertificate(reason) => {
            StoreError::Unsuitable(format!("etcd's certificate is not to be trusted: {reason}"))
        }
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::NoCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied),
        ) => StoreError::Denied(format!(
            "etcd does not accept the client's certificate, or misses one (TLS alert {alert:?}); name one that its trusted CA has issued in the URL (etcds://...?cert=FILE&key=FILE)"
        )),
        rustls::Error::InvalidMessage(_) | rustls::Error::PeerIncompatible(_) => {
            StoreError::Unsuitable(format!("what listens at etcd's address speaks no TLS that fits: {error}"))
        }
        _ => return None,
    })
}

/// What is behind a member that takes connections and answers nothing.
pub(crate) enum Silence {
    /// It refuses this client, which lasts.
    Refusal(StoreError),
    /// It may be this.
    Hint(&'static str),
}

/// Asks a silent member by a handshake of its own. HTTP/2 does not pass on what a server says after the handshake, and
/// with TLS 1.3 that is when it judges the client's certificate.
pub(crate) async fn diagnose(tls: Option<&EtcdTls>, endpoint: &str) -> Option<Silence> {
    let socket = TcpStream::connect(endpoint).await.ok()?;
    let Some(tls) = tls else {
        return Some(Silence::Hint("it takes connections; if it demands TLS, write etcds:// instead of etcd://"));
    };
    // Without a file the system's authorities are trusted, which this handshake does not know.
    tls.ca.as_ref()?;
    let config = Arc::new(tls.load_plain().await.ok()?);
    let host = endpoint.rsplit_once(':')?.0.trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let error = match TlsConnector::from(config).connect(name, socket).await {
        // A server that accepts the client waits for its first word, and says nothing.
        Ok(mut stream) => stream.read(&mut [0; 1]).await.err()?,
        Err(error) => error,
    };
    match explain(&error) {
        Some(refusal) => Some(Silence::Refusal(refusal)),
        None => Some(Silence::Hint(
            "it ends connections when TLS begins; if it has no TLS, write etcd:// instead of etcds://",
        )),
    }
}

/// An error and what caused it, including what an I/O error merely carries.
pub(crate) fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'e (dyn Error + 'static)| {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(carried) => Some(carried as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}
