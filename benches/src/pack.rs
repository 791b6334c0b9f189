//! Events to requests.

use crate::{Run, encode};
use outputs::cloudwatch_logs::pack;

const HEAD: &[u8] =
    br#"{"logGroupName":"group","logStreamName":"prefix.kube.var.log.containers.web","logEvents":["#;

/// A chunk of one segment: sorted, cut, and joined to bodies. The answer is the number of bytes.
pub(crate) fn cloudwatch() -> Run {
    let segments = vec![encode::segment()];
    Box::new(move || {
        let mut answer = 0;
        for queue in pack::queues(&segments, &[]) {
            let mut from = 0;
            while from < queue.items.len() {
                let range = pack::batch(&queue.items, from);
                from = range.end;
                answer += pack::body(&segments, &queue.items[range], HEAD).len() as u64;
            }
        }
        answer
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LINES;

    #[test]
    fn one_request_takes_them_all() {
        let events = encode::segment();
        assert_eq!(events.records as u64, LINES);
        let around = HEAD.len() + "]}".len();
        assert_eq!(cloudwatch()(), events.bytes.len() as u64 + LINES - 1 + around as u64);
    }
}
