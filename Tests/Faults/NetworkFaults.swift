import Foundation

extension NetworkFault {
    private static let mtu: @Sendable (String) -> String = { Specs.mtu($0) }
    private static let sessions = "for pid in $(pgrep '^sshd'); do [ $pid = $(cat /run/lab/server) ] ||"

    /// All of them; `unreachable` and `denied` are problems of the plan, the others are how actions end.
    static let all: [NetworkFault] = [
        NetworkFault(name: "host is away before the connection", expected: ["unreachable"]).unplugged(),
        NetworkFault(name: "host vanishes in the login", stage: .login, expected: ["unreachable"]).unplugged(),
        NetworkFault(name: "host vanishes in the probe", stage: .probe, expected: ["unreachable"]).unplugged(),
        NetworkFault(
            name: "host vanishes between plan and step",
            stage: .step,
            holdsOther: true,
            options: ["--concurrency", "1"],
            limit: 100,
            expected: ["failed", "skipped"]
        ).unplugged(),
        NetworkFault(name: "host vanishes in a step", stage: .step, limit: 100, expected: ["failed"]).unplugged(),
        NetworkFault(name: "host vanishes after a step, its answer with it", stage: .done, limit: 100, expected: ["failed"]).unplugged(),
        NetworkFault(name: "host vanishes while the result is looked at", stage: .look, limit: 100, expected: ["failed"]).unplugged(),
        NetworkFault(name: "host vanishes before the confirmation", stage: .look, spec: mtu, limit: 100, expected: ["failed"]).unplugged(),
        NetworkFault(
            name: "host is away for 2 s in a step",
            stage: .step,
            limit: 100,
            strike: { world, host in
                try world.lab("cut", host)
                Thread.sleep(forTimeInterval: 2)
                try world.lab("plug", host)
            },
            expected: ["succeeded"]
        ),
        NetworkFault(
            name: "host comes back while others are changed",
            strike: cut,
            meanwhile: { world, host in
                Thread.sleep(forTimeInterval: 5)
                try world.lab("plug", host)
            },
            expected: ["unreachable"]
        ),
        NetworkFault(
            name: "link that comes and goes",
            limit: 100,
            meanwhile: { world, host in
                for _ in 0..<6 {
                    try world.lab("cut", host)
                    Thread.sleep(forTimeInterval: 0.3)
                    try world.lab("plug", host)
                    Thread.sleep(forTimeInterval: 0.3)
                }
            },
            expected: ["succeeded", "failed", "unreachable"]
        ),
        NetworkFault(name: "half-open before the connection: nothing comes back", expected: ["unreachable"]).ruled("INPUT -s HOST -j DROP"),
        NetworkFault(name: "half-open in the login: nothing comes back", stage: .login, expected: ["unreachable"]).ruled("INPUT -s HOST -j DROP"),
        // The answer to the probe can still come back; then it is the lock that does not get there, and nothing is started.
        NetworkFault(name: "half-open in the probe: nothing gets there", stage: .probe, expected: ["unreachable", "failed", "skipped"])
            .ruled("OUTPUT -d HOST -j DROP"),
        NetworkFault(name: "half-open in a step: nothing comes back", stage: .step, limit: 100, expected: ["failed"])
            .ruled("INPUT -s HOST -j DROP"),
        NetworkFault(name: "half-open in a step: nothing gets there", stage: .step, limit: 100, expected: ["failed", "succeeded"])
            .ruled("OUTPUT -d HOST -j DROP"),
        NetworkFault(name: "one packet in ten is lost", limit: 100, expected: ["succeeded", "unreachable"])
            .ruled("INPUT -s HOST -m statistic --mode random --probability 0.1 -j DROP"),
        NetworkFault(name: "connection refused", expected: ["unreachable"]).ruled("OUTPUT -p tcp -d HOST -j REJECT --reject-with tcp-reset"),
        NetworkFault(name: "connection prohibited", expected: ["unreachable"])
            .ruled("OUTPUT -d HOST -j REJECT --reject-with icmp-admin-prohibited"),
        NetworkFault(name: "connection reset in the probe", stage: .probe, expected: ["unreachable"])
            .ruled("INPUT -p tcp -s HOST -j REJECT --reject-with tcp-reset"),
        NetworkFault(name: "connection reset in a step", stage: .step, limit: 100, expected: ["failed"])
            .ruled("INPUT -p tcp -s HOST -j REJECT --reject-with tcp-reset"),
        NetworkFault(
            name: "2 s latency",
            entry: { world, host in try world.wire(to: host, delay: 1, chunk: 65_536) },
            options: ["--timeout", "60s"],
            limit: 150,
            expected: ["succeeded", "unreachable"]
        ),
        NetworkFault(
            name: "every byte in a packet of its own",
            entry: { world, host in try world.wire(to: host, delay: 0, chunk: 1) },
            options: ["--timeout", "60s"],
            limit: 150,
            expected: ["succeeded"]
        ),
        NetworkFault(
            name: "8 kbit/s",
            options: ["--timeout", "60s"],
            limit: 150,
            strike: { world, host in
                let number = try String(contentsOfFile: "\(world.lab)/hosts/\(host)/number", encoding: .utf8)
                let device = "v" + number.trimmingCharacters(in: .whitespacesAndNewlines)
                let slow = ["root", "tbf", "rate", "8kbit", "burst", "1600", "latency", "20s"]
                let outcome = try Child(["tc", "qdisc", "add", "dev", device] + slow).end()
                guard outcome.status == 0 else { throw LabFailure(description: "tc: \(outcome.said)") }
                try world.on(host, "tc qdisc add dev eth0 " + slow.joined(separator: " "))
            },
            heal: { world, host in
                let number = try String(contentsOfFile: "\(world.lab)/hosts/\(host)/number", encoding: .utf8)
                _ = try Child(["tc", "qdisc", "del", "dev", "v" + number.trimmingCharacters(in: .whitespacesAndNewlines), "root"]).end()
                try world.on(host, "tc qdisc del dev eth0 root")
            },
            expected: ["succeeded", "unreachable"]
        ),
        NetworkFault(name: "a name that is nowhere", entry: { _, host in "\(host): {address: no-such-host.invalid}" }, expected: ["unreachable"]),
        NetworkFault(name: "a port where nobody listens", entry: { _, host in "\(host): {port: 2}" }, expected: ["unreachable"]),
        NetworkFault(name: "sshd is stopped", strike: { try $0.lab("stop", $1) }, heal: { try $0.lab("start", $1) }, expected: ["unreachable"]),
        NetworkFault(
            // From here an end looks like a refusal; the message names both.
            name: "sshd is killed in the login",
            stage: .login,
            strike: { try $0.lab("stop", $1) },
            heal: { try $0.lab("start", $1) },
            expected: ["unreachable", "denied"]
        ),
        NetworkFault(
            name: "sshd is killed in the probe",
            stage: .probe,
            strike: { try $0.lab("stop", $1) },
            heal: { try $0.lab("start", $1) },
            expected: ["unreachable"]
        ),
        NetworkFault(
            name: "sshd is killed in a step",
            stage: .step,
            strike: { try $0.lab("stop", $1) },
            heal: { try $0.lab("start", $1) },
            expected: ["failed"]
        ),
        NetworkFault(
            name: "sshd is killed before the confirmation",
            stage: .look,
            spec: mtu,
            limit: 100,
            strike: { try $0.lab("stop", $1) },
            heal: { try $0.lab("start", $1) },
            expected: ["failed"]
        ),
        NetworkFault(
            name: "sshd's sessions are killed in a step",
            stage: .step,
            strike: script("\(sessions) kill -9 $pid; done"),
            expected: ["failed", "succeeded"]
        ),
        NetworkFault(
            name: "sshd's sessions are frozen in a step",
            stage: .step,
            limit: 100,
            strike: script("\(sessions) kill -STOP $pid; done"),
            heal: script("kill -CONT $(pgrep '^sshd')"),
            expected: ["failed", "succeeded"]
        ),
        NetworkFault(
            name: "sshd is started anew in a step",
            stage: .step,
            strike: script("kill $(cat /run/lab/server)"),
            expected: ["succeeded"]
        ),
        NetworkFault(name: "a host that accepts and is silent", variant: "silent", expected: ["unreachable"]),
        NetworkFault(name: "a host that talks rubbish", variant: "garbage", expected: ["unreachable", "unknown"]),
        NetworkFault(
            name: "another host key before the confirmation",
            stage: .look,
            spec: mtu,
            limit: 100,
            strike: { world, host in
                // Only new connections meet it.
                try world.on(host, "mkdir /etc/ssh/old; cp -a /etc/ssh/ssh_host_* /etc/ssh/old")
                try world.lab("hostkey", host)
                try world.on(host, "\(sessions) kill -9 $pid; done")
            },
            heal: { world, host in
                try world.on(host, "cp -a /etc/ssh/old/* /etc/ssh")
                try world.lab("stop", host)
                try world.lab("start", host)
            },
            expected: ["failed", "rolledBack"]
        ),
        NetworkFault(
            name: "the change itself cuts the link",
            spec: { Specs.spec("NetworkInterface", "down", "hosts: {names: [\($0)]}, interfaces: [eth0], flags: {up: false}") },
            limit: 100,
            expected: ["rolledBack"]
        ),
        NetworkFault(
            name: "the port is closed before the confirmation",
            stage: .done,
            spec: mtu,
            limit: 100,
            strike: script("iptables-nft -A INPUT -p tcp --dport 22 -j DROP"),
            heal: script("iptables-nft -D INPUT -p tcp --dport 22 -j DROP"),
            expected: ["failed"]
        ),
    ]
}
