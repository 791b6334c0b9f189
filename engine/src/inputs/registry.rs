//! Every input there is, in documentation order.

use super::{
    Plugin, docker, docker_events, dummy, exec, forward, head, http, kubernetes_events, random, stdin,
    syslog, systemd, tail, tcp, udp,
};

/// The inputs. Adding one is its file and one line here.
pub static INPUTS: &[&Plugin] = &[
    &tail::PLUGIN,
    &stdin::PLUGIN,
    &tcp::PLUGIN,
    &udp::PLUGIN,
    &http::PLUGIN,
    &forward::PLUGIN,
    &syslog::PLUGIN,
    &systemd::PLUGIN,
    &exec::PLUGIN,
    &head::PLUGIN,
    &random::PLUGIN,
    &kubernetes_events::PLUGIN,
    &docker::PLUGIN,
    &docker_events::PLUGIN,
    &dummy::PLUGIN,
];

/// The input of this name, in any case.
pub fn find(name: &str) -> Option<&'static Plugin> {
    Plugin::find(INPUTS, name)
}
