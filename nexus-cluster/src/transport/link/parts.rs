//! Messages put together from parts. Parts of one message follow each other, so there is one at a time.

use bytes::Bytes;

use super::super::frame::u32_at;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Parts {
    number: u64,
    total: usize,
    bytes: Vec<u8>,
}

impl Parts {
    /// Adds a part's content; answers the message once it is whole. It takes no more room than has come.
    ///
    /// # Errors
    /// It does not belong here, or the message would be longer than `bytes_max`.
    pub(super) fn add(
        &mut self,
        number: u64,
        content: &[u8],
        bytes_max: usize,
    ) -> Result<Option<Bytes>, &'static str> {
        let (total, part) = content.split_at_checked(4).ok_or("a part has no length")?;
        let total = u32_at(total, 0) as usize;
        if self.bytes.is_empty() {
            (self.number, self.total) = (number, total);
        }
        if (number, total) != (self.number, self.total) || part.is_empty() {
            return Err("a part belongs to no message");
        }
        if total > bytes_max || self.bytes.len() + part.len() > total {
            return Err("a message in parts is too long");
        }
        self.bytes.extend_from_slice(part);
        Ok((self.bytes.len() == total).then(|| std::mem::take(&mut self.bytes).into()))
    }
}
