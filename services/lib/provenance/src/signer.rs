//! The library's signer with a tighter idea of how large its signatures get.

use c2pa::{BoxedSigner, Result, Signer, SigningAlg};

/// What a signature has besides its certificates: the value itself (at most 512 bytes, RSA) and COSE's headers.
const BESIDES_CERTIFICATES: usize = 1_024;

/// Room for a signature is set aside before it is made and stays in the file. The library sets aside 10 kB for a time
/// stamp, which is never asked for here: that would double the size of a small picture.
pub(crate) struct WithoutTimeStamp(pub(crate) BoxedSigner);

impl Signer for WithoutTimeStamp {
    fn sign(&self, data: &[u8]) -> Result<Vec<u8>> {
        self.0.sign(data)
    }

    fn alg(&self) -> SigningAlg {
        self.0.alg()
    }

    fn certs(&self) -> Result<Vec<Vec<u8>>> {
        self.0.certs()
    }

    fn reserve_size(&self) -> usize {
        let certificates: usize = self.0.certs().iter().flatten().map(Vec::len).sum();
        certificates + BESIDES_CERTIFICATES
    }
}
