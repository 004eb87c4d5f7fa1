import Foundation
import Testing

@testable import Hosts

/// What real hosts tell.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct MonitorTests {
    private static func nothingIsLeft(_ host: LabHost) async throws {
        let isClean = try await eventually { host.monitors.isEmpty }
        #expect(isClean, "\(host.monitors)")
    }

    /// Full rights by sudo, with sudo's own terminal as newer ones have it, and root.
    @Test(arguments: ["pi", "pi with use_pty", "root"]) func `Interfaces and the rules of every table, at once`(_ who: String) async throws {
        try await LabHost.with("mon-1") { host in
            if who.contains("use_pty") { try host.exec("sh", "-c", "umask 227; echo 'Defaults use_pty' >/etc/sudoers.d/pty") }
            let pool = HostPool(options: host.options)
            let login = host.login(String(who.prefix { $0 != " " }))
            let events = await HostEvents(pool, login)
            let sources = try await events.connected().answer
            #expect(sources == HostEventSources(followed: [.links, .ruleset]))

            // Changed over the same connection, with the host's clock, which is ours.
            var delays: [Double] = []
            for round in 0..<20 {
                let before = await events.count
                let script = "date +%s%N; exec ip link set wlan0 promisc \(round % 2 == 0 ? "on" : "off")"
                let result = try await pool.run(login, HostCommand(arguments: ["sh", "-c", script]))
                let told = try await events.first(from: before, "promiscuous mode") { $0 == .links(["wlan0"]) ? true : nil }
                delays.append(Double(told.time - (Int(result.output.trimmingCharacters(in: .newlines)) ?? 0)) / 1_000_000)
                try await Task.sleep(for: .milliseconds(110))
            }
            delays.sort()
            print("link event after \(delays[10]) ms (p50), \(delays[19]) ms (most), the start of 'ip' with it, \(who)")

            for (tool, family) in [("iptables-nft", "ip"), ("ip6tables-nft", "ip6")] {
                for table in ["filter", "nat", "mangle", "raw", "security"] {
                    let before = await events.count
                    try host.exec(tool, "-t", table, "-N", "NEW_\(table)")
                    let place = RulesetPlace(family: family, table: table, chain: "NEW_\(table)")
                    _ = try await events.first(from: before, "\(family) \(table)") {
                        if case .ruleset(let places) = $0, places.contains(place) { true } else { nil }
                    }
                }
            }
            let before = await events.count
            try host.exec("iptables-legacy", "-t", "raw", "-N", "NOT_TOLD")
            try host.exec("ip", "link", "set", "wlan0", "name", "other0")
            // Both names, and nothing of the other backend before it.
            _ = try await events.first(from: before, "renamed") {
                if case .links(let names) = $0, names.contains("wlan0"), names.contains("other0") { true } else { nil }
            }
            await events.stop()
            try await Self.nothingIsLeft(host)
            // The connection is still there for others.
            #expect(try await pool.run(login, HostCommand(arguments: ["echo", "x"])).output == "x\n")
            await pool.close()
        }
    }

    @Test func `sshd ends, the cable is out, a tool is killed: it goes on, from scratch`() async throws {
        try await LabHost.with("mon-2") { host in
            var options = host.options
            options.monitorLimits.beat = .seconds(1)
            options.monitorLimits.answer = .seconds(2)
            options.connectTimeout = .seconds(3)
            let pool = HostPool(options: options)
            let login = host.login()
            let events = await HostEvents(pool, login)
            var index = try await events.connected().index

            func comesBack(_ what: Comment) async throws {
                let lost = try await events.first(from: index, "\(what): not noticed") { if case .lost(let failure, _) = $0 { failure } else { nil } }
                #expect(lost.answer.cause == .unreachable, "\(what): \(lost.answer)")
            }
            func isFollowed(_ what: Comment) async throws {
                let again = try await events.connected(from: index + 1)
                #expect(again.answer.followed == [.links, .ruleset], "\(what)")
                try host.exec("iptables-nft", "-N", "AFTER_\(index)")
                index = try await events.first(from: again.index, "\(what): told again") { if case .ruleset = $0 { true } else { nil } }.index
            }

            try host.lab("stop")
            try await comesBack("sshd")
            try await Self.nothingIsLeft(host)
            try host.lab("start")
            try await isFollowed("sshd")

            await pool.reconnect(login)
            try await comesBack("our own end of a connection")
            try await isFollowed("our own end of a connection")

            try host.lab("cut")
            try await comesBack("the cable")
            try host.lab("plug")
            try await isFollowed("the cable")

            // A tool that is killed there.
            try host.exec("pkill", "-x", "nft")
            let lost = try await events.first(from: index, "nft") { if case .lost(let failure, _) = $0 { failure } else { nil } }
            #expect(lost.answer.message.contains("'nft monitor' on mon-2") && lost.answer.message.contains("ended with status"), "\(lost.answer)")
            try await isFollowed("nft")
            let running = try await eventually { host.monitors.count { $0.hasSuffix("nft monitor") && !$0.contains("sudo") } == 1 }
            #expect(running, "\(host.monitors)")

            // The whole host goes; one that comes back has another address in the lab.
            try host.lab("remove")
            try await comesBack("the host")
            await pool.close()
            #expect(try await events.ends())
        }
    }

    /// With OpenSSH's client in our place, for a process of its own that can be killed.
    @Test(arguments: ["pi", "root"]) func `Nothing is left of a client that is killed`(_ user: String) async throws {
        try await LabHost.with("mon-3") { host in
            try host.exec("sh", "-c", "umask 227; echo 'Defaults use_pty' >/etc/sudoers.d/pty")
            let scratch = try Scratch()
            let program = MonitorProgram().text(tag: "t", sources: [.links, .ruleset], usesSudo: true, hasTerminal: true)
            try scratch.write(program, to: "program")
            try scratch.write(MonitorProgram.command, to: "command")
            try Programs.run(["mkfifo", scratch.file("in")])
            let script = """
                exec 7<>\(scratch.file("in"))
                cat \(scratch.file("program")) >&7
                exec ssh -tt -F "$LAB_SSH_CONFIG" -l \(user) \(host.name) "$(cat \(scratch.file("command")))" <&7
                """
            let client = try Daemon(["bash", "-c", script], log: scratch.file("log"))
            let begun = try await eventually { (try? scratch.read("log"))?.contains("t ready") == true }
            #expect(begun, "\((try? scratch.read("log")) ?? "")")
            #expect(host.monitors.contains { $0.hasPrefix("root ") && $0.hasSuffix(" nft monitor") }, "\(host.monitors)")
            // By `kill -9`.
            client.stop()
            try await Self.nothingIsLeft(host)
        }
    }

    @Test func `A host that hears nothing from us for long ends it by itself`() async throws {
        try await LabHost.with("mon-4") { host in
            var options = host.options
            options.monitor.patience = 1
            let pool = HostPool(options: options)
            let events = await HostEvents(pool, host.login())
            let connected = try await events.connected()
            let lost = try await events.first(from: connected.index, "the end") { if case .lost(let failure, _) = $0 { failure } else { nil } }
            #expect(lost.answer.message.contains("what told us what happens"), "\(lost.answer)")
            await events.stop()
            try await Self.nothingIsLeft(host)
            await pool.close()
        }
    }

    @Test func `A flood is throttled, and the connection serves others meanwhile`() async throws {
        try await LabHost.with("mon-5") { host in
            let pool = HostPool(options: host.options)
            let login = host.login()
            let events = await HostEvents(pool, login)
            let connected = try await events.connected()
            let memory = Memory.resident
            let scratch = try Scratch()
            let flood = try Daemon(
                [
                    "lab", "exec", host.name, "timeout", "7", "sh", "-c",
                    "while :; do for f in on off; do echo link set wlan0 promisc $f; done; done | ip -batch -",
                ],
                log: scratch.file("log")
            )
            _ = try await events.first(from: connected.index, "throttled") { $0 == .throttled(.links) ? true : nil }
            let begin = ContinuousClock.now
            let first = await events.count
            var probes = 0
            while ContinuousClock.now - begin < .seconds(5) {
                let answer = try await pool.probe(login, sections: [HostSection(name: "x", script: "echo x")])
                #expect(answer.sections["x"]?.output == "x\n")
                probes += 1
                try await Task.sleep(for: .milliseconds(20))
            }
            let seconds = Double((ContinuousClock.now - begin) / .seconds(1))
            let told = await events.count - first
            let growth = Memory.resident - memory
            print("flood: \(told) events in \(seconds) s, \(probes) probes beside it, memory +\(growth >> 10) KiB")
            // Ten a second and source, as said.
            #expect(Double(told) <= 20 * seconds + 4, "\(told)")
            #expect(growth < 32 << 20, "\(growth)")
            flood.stop()
            let last = await events.count
            try host.exec("iptables-nft", "-N", "AFTER")
            _ = try await events.first(from: last, "what came after it") { if case .ruleset = $0 { true } else { nil } }
            await pool.close()
            #expect(try await events.ends())
        }
    }

    @Test(
        arguments: [
            ("no-ip", "pi", [.ruleset], "'ip' is not installed there"),
            ("no-nft", "pi", [.links], "'nft' is not installed there"),
            ("", "nosudo", [.links], "password is required"),
            ("", "restricted", [.links], "password is required"),
            ("slow-shell", "root", [.links, .ruleset], ""),
            ("banner", "pi", [.links, .ruleset], ""),
        ] as [(String, String, Set<HostEventSource>, String)]
    )
    func `What can not be followed is named, and the rest is followed`(
        _ variant: String,
        _ user: String,
        _ followed: Set<HostEventSource>,
        _ words: String
    ) async throws {
        try await LabHost.with("mon-6", like: variant.isEmpty ? nil : variant) { host in
            if variant == "no-nft" { try host.exec("sh", "-c", "command -v nft && rm -f /usr/sbin/nft; :") }
            let pool = HostPool(options: host.options)
            let events = await HostEvents(pool, host.login(user))
            let sources = try await events.connected().answer
            #expect(sources.followed == followed, "\(sources)")
            #expect(words.isEmpty ? sources.missing.isEmpty : sources.missing.values.contains { $0.contains(words) }, "\(sources)")
            await events.stop()
            try await Self.nothingIsLeft(host)
            await pool.close()
        }
    }

    @Test func `Exactly the right that is needed`() async throws {
        try await LabHost.with("mon-7") { host in
            let line = "restricted ALL=(root) NOPASSWD: \(HostPool.monitorCommands.joined(separator: ", "))"
            try host.exec("sh", "-c", "umask 227; echo '\(line)' >/etc/sudoers.d/monitor")
            let pool = HostPool(options: host.options)
            let events = await HostEvents(pool, host.login("restricted"))
            #expect(try await events.connected().answer == HostEventSources(followed: [.links, .ruleset]))
            await events.stop()
            try await Self.nothingIsLeft(host)
            await pool.close()
        }
    }
}

enum Memory {
    /// Bytes of this process that are in memory.
    static var resident: Int {
        let words = ((try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? "").split(separator: " ")
        return (words.count > 1 ? Int(words[1]) ?? 0 : 0) * Int(getpagesize())
    }
}

/// Against an sshd with rules of its own.
@Suite(.enabled(if: TestServer.isPossible, "needs root and sshd"), .serialized, .timeLimit(.minutes(2)))
struct MonitorServerTests {
    @Test func `No channel left for it: named, and tried again, and the shell goes on`() async throws {
        let server = try TestServer(["MaxSessions 1"])
        let pool = HostPool(options: server.options)
        #expect(try await pool.run(server.login(), HostCommand(arguments: ["echo", "x"])).output == "x\n")
        let events = await HostEvents(pool, server.login())
        let first = try await events.first("refused") { if case .lost(let failure, _) = $0 { failure } else { nil } }
        #expect(first.answer.cause == .denied && first.answer.message.contains("MaxSessions"), "\(first.answer)")
        _ = try await events.first(from: first.index + 1, "tried again") { if case .lost = $0 { true } else { nil } }
        #expect(try await pool.run(server.login(), HostCommand(arguments: ["echo", "x"])).output == "x\n")
        #expect(server.log.components(separatedBy: "Accepted publickey").count - 1 == 1)
        await pool.close()
        #expect(try await events.ends())
    }

    @Test func `Without a terminal root follows all the same, and nothing is left`() async throws {
        let server = try TestServer(["PermitTTY no"])
        let pool = HostPool(options: server.options)
        let events = await HostEvents(pool, server.login())
        #expect(try await events.connected().answer == HostEventSources(followed: [.links, .ruleset]))
        let section = HostSection(name: "session", script: "echo $PPID")
        let session = try await pool.probe(server.login(), sections: [section]).sections["session"]?.output.trimmingCharacters(in: .newlines) ?? ""
        func children() -> Int { ((try? Programs.run(["pgrep", "-P", session])) ?? "").split(separator: "\n").count }
        #expect(children() == 2)
        await events.stop()
        // The resident shell stays. What it has started is of its process group, and went with it.
        let isClean = try await eventually { children() == 1 }
        #expect(isClean)
        let left = try await eventually { (try? Programs.run(["pgrep", "-a", "-f", "^(ip -o|nft) monitor"])) == nil }
        #expect(left)
        await pool.close()
    }

    @Test func `Nobody answers: it goes on trying until it is told to stop`() async throws {
        let server = try TestServer()
        server.stop()
        let pool = HostPool(options: server.options)
        let events = await HostEvents(pool, server.login())
        let first = try await events.first("refused") { if case .lost(let failure, _) = $0 { failure } else { nil } }
        #expect(first.answer.cause == .unreachable)
        _ = try await events.first(from: first.index + 1, "tried again") { if case .lost = $0 { true } else { nil } }
        await events.stop()
        await pool.close()
    }
}
