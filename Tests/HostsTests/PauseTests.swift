import Foundation
import Testing

@testable import Hosts

/// The brake on the host itself.
@Suite(.enabled(if: TestServer.isPossible, "needs root and sshd"), .serialized, .timeLimit(.minutes(2)))
struct PauseTests {
    private struct Place {
        let server: TestServer
        let pool: HostPool
        var login: HostLogin { server.login() }

        init() throws {
            server = try TestServer()
            var options = server.options
            options.holds = HoldProgram(folder: server.scratch.file("run"))
            options.pauseFile = server.scratch.file("pause")
            pool = HostPool(options: options)
        }

        func reason() async throws -> String? {
            pool.pauseReason(in: try await pool.probe(login, sections: [HostPool.pauseSection]))
        }

        func touch(_ name: String, heedsPause: Bool = true) async throws -> CommandResult {
            try await pool.run(login, HostCommand(arguments: ["touch", server.scratch.file(name)], heedsPause: heedsPause))
        }
    }

    @Test func `Nothing is run while it is there, but what ends a change that has begun`() async throws {
        let place = try Place()
        #expect(try await place.reason() == nil)
        #expect(try await place.touch("a").status == 0)

        try place.server.scratch.write("storm in \u{1B}[31mthe $(touch x) cellar\nsecond line\n", to: "pause", mode: 0o644)
        #expect(try await place.reason() == "storm in [31mthe $(touch x) cellar")
        let failure = await #expect(throws: HostFailure.self) { try await place.touch("b") }
        #expect(failure?.cause == .paused)
        #expect(
            failure?.message.contains("pause there: storm in [31mthe $(touch x) cellar. 'touch' was not run") == true,
            "\(failure?.message ?? "")"
        )
        let withInput = HostCommand(arguments: ["tee", place.server.scratch.file("c")], input: "text")
        #expect(await #expect(throws: HostFailure.self) { try await place.pool.run(place.login, withInput) }?.cause == .paused)
        #expect(try await place.touch("d", heedsPause: false).status == 0)
        #expect(!place.server.scratch.exists("b") && !place.server.scratch.exists("c") && place.server.scratch.exists("d"))

        // Over the same connection, in the middle of a sequence of steps.
        try FileManager.default.removeItem(atPath: place.server.scratch.file("pause"))
        #expect(try await place.touch("b").status == 0)
        #expect(place.server.log.components(separatedBy: "Accepted publickey").count - 1 == 1)
        await place.pool.close()
    }

    @Test func `It is not locked, and a lock that is there is taken again for what has to end`() async throws {
        let place = try Place()
        let pause = try place.server.scratch.write("storm\n", to: "pause", mode: 0o644)
        #expect(try await place.pool.hold(place.login, as: "alice", unlessChangedSince: HostMark()) == .paused("storm"))
        #expect(!place.server.scratch.exists("run"))
        try FileManager.default.removeItem(atPath: pause)
        #expect(try await place.pool.hold(place.login, as: "alice", unlessChangedSince: HostMark()) == .held)
        try place.server.scratch.write("storm\n", to: "pause", mode: 0o644)
        await place.pool.reconnect(place.login)
        #expect(try await place.touch("end", heedsPause: false).status == 0)
        #expect(await #expect(throws: HostFailure.self) { try await place.touch("more") }?.cause == .paused)
        let isFree = (try? Programs.run(["flock", "-n", place.server.scratch.file("run/lock/host"), "true"])) != nil
        #expect(!isFree)
        await place.pool.release(place.login, changed: false)
        await place.pool.close()
    }

    @Test(arguments: [
        (": >PAUSE", "it does not say why"),
        ("echo why >PAUSE; chmod 664 PAUSE", "why (others than root may write to PAUSE: chmod 644 it)"),
        ("echo why >PAUSE; chmod 646 PAUSE", "why (others than root may write to PAUSE: chmod 644 it)"),
        ("echo why >PAUSE; chown 65534 PAUSE", "why (PAUSE is not root's but that of the user with the number 65534)"),
        ("ln -s /etc/shadow PAUSE", "it does not say why (PAUSE is a symbolic link, which is not followed)"),
        ("ln -s /nowhere PAUSE", "it does not say why (PAUSE is a symbolic link, which is not followed)"),
        ("mkdir PAUSE", "it does not say why (PAUSE is no plain file)"),
        ("mkfifo PAUSE", "it does not say why (PAUSE is no plain file)"),
        ("head -c 1000000 /dev/zero | tr '\\0' x >PAUSE", String(repeating: "x", count: 200) + "…"),
        ("printf 'owner 7\\nlink\\n' >PAUSE", "owner 7"),
        ("printf '\\n\\nlater' >PAUSE", "it does not say why"),
        ("printf 'no line feed' >PAUSE", "no line feed"),
    ]) func `What there may be in its place`(_ script: String, _ reason: String) async throws {
        let place = try Place()
        let path = place.server.scratch.file("pause")
        try Programs.run(["sh", "-c", script.replacing("PAUSE", with: path)])
        #expect(try await place.reason() == reason.replacing("PAUSE", with: path))
        #expect(await #expect(throws: HostFailure.self) { try await place.touch("x") }?.cause == .paused)
        await place.pool.close()
    }

    @Test(arguments: ["dash", "bash --posix", "busybox sh"]) func `Under the shells that hosts have`(_ shell: String) throws {
        let scratch = try Scratch()
        let path = try scratch.write("why\n", to: "pause", mode: 0o644)
        let name = String(shell.prefix { $0 != " " })
        guard ["/bin", "/usr/bin"].contains(where: { FileManager.default.isExecutableFile(atPath: "\($0)/\(name)") }) else { return }
        let script = PauseFile.functions(path: path) + PauseFile.section.script + "\n"
        let command = shell.split(separator: " ").map(String.init) + ["-s"]
        #expect(PauseFile.reason(in: try Programs.run(command, input: script), path: path) == "why")
        try FileManager.default.removeItem(atPath: path)
        #expect(PauseFile.reason(in: try Programs.run(command, input: script), path: path) == nil)
    }
}

/// On real hosts, as a user with few rights, and while a change is under way that the host would take back.
@Suite(.serialized, .timeLimit(.minutes(3)))
struct PauseLabTests {
    @Test func `Without root it is seen as well, and what can not be seen counts`() async throws {
        try await LabHost.with("pause-1") { host in
            let pool = HostPool(options: host.options)
            let login = host.login("restricted")
            let step = HostCommand(arguments: ["ip", "link", "set", "dev", "wlan0", "promisc", "on"])
            func reason() async throws -> String? { pool.pauseReason(in: try await pool.probe(login, sections: [HostPool.pauseSection])) }

            try host.exec("mkdir", "-m", "755", "/etc/plumb")
            #expect(try await pool.run(login, step).status == 0)
            try host.exec("sh", "-c", "umask 022; echo storm >/etc/plumb/pause")
            #expect(try await reason() == "storm")
            #expect(await #expect(throws: HostFailure.self) { try await pool.run(login, step) }?.cause == .paused)
            try host.exec("chmod", "600", "/etc/plumb/pause")
            #expect(try await reason() == "it does not say why (/etc/plumb/pause can't be read: chmod 644 it)")
            try host.exec("chmod", "700", "/etc/plumb")
            #expect(try await reason()?.contains("whether there is a /etc/plumb/pause can't be seen") == true)
            let held = try await pool.hold(login, as: "alice", unlessChangedSince: HostMark())
            guard case .paused(let why) = held else {
                Issue.record("\(held)")
                return
            }
            #expect(why.contains("chmod 755 its folder"))
            try host.exec("rm", "-r", "/etc/plumb")
            #expect(try await reason() == nil)
            #expect(try await pool.run(login, step).status == 0)
            await pool.close()
        }
    }

    @Test func `A change that is under way is confirmed or undone, never left armed`() async throws {
        try await LabHost.with("pause-2") { host in
            let pool = HostPool(options: host.options)
            let login = host.login()
            let pause = "umask 022; mkdir -p /etc/plumb; echo storm >/etc/plumb/pause"
            func change(_ words: String...) -> RiskyChange {
                RiskyChange(
                    change: [HostCommand(arguments: ["ip", "link", "set", "dev", "wlan0", "mtu", "1400"])],
                    undo: [HostCommand(arguments: ["ip", "link", "set", "dev", "wlan0", "mtu", "1500"])],
                    about: "test",
                    timeout: .seconds(20)
                )
            }
            func mtu() throws -> String { try host.exec("cat", "/sys/class/net/wlan0/mtu").trimmingCharacters(in: .newlines) }
            func isArmed() throws -> Bool { try !host.exec("sh", "-c", "ls /run/plumb/undo 2>/dev/null; :").isEmpty }

            // Made, and then paused: it is confirmed.
            let confirmed = await pool.carryOut(change(), at: login) {
                _ = try? host.exec("sh", "-c", pause)
                return .asDeclared
            }
            #expect(confirmed == .confirmed)
            #expect(try mtu() == "1400" && !isArmed())

            // Paused before it is armed: not begun.
            let refused = await pool.carryOut(change(), at: login) { .asDeclared }
            guard case .refused(.failure(let failure)) = refused, failure.cause == .paused else {
                Issue.record("\(refused)")
                return
            }
            #expect(try !isArmed())

            // Made, then paused, and not as declared: it is undone.
            try host.exec("rm", "/etc/plumb/pause")
            let undone = await pool.carryOut(change(), at: login) {
                _ = try? host.exec("sh", "-c", pause)
                return .differs("not so")
            }
            #expect(undone == .undone("not so"))
            #expect(try mtu() == "1500" && !isArmed())

            // Paused between arming and changing, by what arming itself runs.
            try host.exec("rm", "/etc/plumb/pause")
            let stand = "#!/bin/sh\nif [ \"$3\" = save ]; then \(pause); fi\nexec /usr/sbin/ip \"$@\"\n"
            try host.exec("sh", "-c", "mkdir -p /usr/local/sbin; cat >/usr/local/sbin/ip; chmod 755 /usr/local/sbin/ip", input: stand)
            let between = await pool.carryOut(change(), at: login) { .asDeclared }
            guard case .undone(let why) = between else {
                Issue.record("\(between)")
                return
            }
            #expect(why.contains("paused by /etc/plumb/pause there: storm"), "\(why)")
            #expect(try mtu() == "1500" && !isArmed())
            await pool.close()
        }
    }
}
