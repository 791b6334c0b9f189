//! Shards: runs jobs on the workers and keeps order per source.

/// An open source.
#[derive(Debug)]
pub struct Source {}

/// One running job.
pub struct JobRun<'j> {
    _p: std::marker::PhantomData<&'j ()>,
}
