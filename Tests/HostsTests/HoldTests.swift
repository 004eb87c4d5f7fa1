import Foundation
import Testing

@testable import Hosts

/// Two Plumbs at one real sshd: two pools are two connections, as of two machines.
@Suite(.enabled(if: TestServer.isPossible, "needs root and sshd"), .serialized, .timeLimit(.minutes(2)))
struct HoldTests {
    private struct Place {
        let server: TestServer
        var options: HostPoolOptions

        init(patience: Int = 90) throws {
            server = try TestServer()
            options = server.options
            options.holds = HoldProgram(folder: server.scratch.file("run"), patience: patience)
        }

        func pool() -> HostPool { HostPool(options: options) }

        func mark(_ pool: HostPool) async throws -> HostMark {
            HostPool.mark(in: try await pool.probe(server.login(), sections: [pool.holdSection]))
        }

        /// Whether nobody has the lock, asked of the kernel.
        var isFree: Bool {
            (try? Programs.run(["flock", "-n", server.scratch.file("run/lock/host"), "true"])) != nil
        }

        func becomesFree(within seconds: Int) async throws -> Bool {
            for _ in 0..<(seconds * 20) {
                if isFree { return true }
                try await Task.sleep(for: .milliseconds(50))
            }
            return false
        }

        /// No pipe, and no process that keeps it.
        func nothingIsLeft(within seconds: Int = 5) async throws -> Bool {
            for _ in 0..<(seconds * 20) {
                let script = "pgrep -f \(server.scratch.file("run"))/[l]ock; ls /dev/shm /run/user/0 2>/dev/null | grep '^plumb[.]'; :"
                if try Programs.run(["sh", "-c", script]).isEmpty { return true }
                try await Task.sleep(for: .milliseconds(50))
            }
            return false
        }
    }

    @Test func `The second one is told who has it, and since when`() async throws {
        let place = try Place()
        let (alice, bob) = (place.pool(), place.pool())
        let login = place.server.login()
        #expect(try await place.mark(alice) == HostMark())
        #expect(try await alice.hold(login, as: "alice@laptop (pid 7)", unlessChangedSince: HostMark()) == .held)
        #expect(!place.isFree)
        #expect(try Programs.run(["stat", "-c", "%a %U", place.server.scratch.file("run/lock")]) == "700 root\n")

        let seen = try await place.mark(bob)
        #expect(seen.isHeld && seen.who == "alice@laptop (pid 7)" && seen.since.contains(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/), "\(seen)")
        guard case .busy(let mark) = try await bob.hold(login, as: "bob", unlessChangedSince: HostMark()) else {
            Issue.record("two at once")
            return
        }
        #expect(mark.isHeld && mark.who == "alice@laptop (pid 7)")

        await alice.release(login, changed: true)
        // Planned before alice's change, and while she was at it: both are of yesterday.
        guard case .moved(let by) = try await bob.hold(login, as: "bob", unlessChangedSince: HostMark()) else {
            Issue.record("what changed in between was not noticed")
            return
        }
        #expect(by.who == "alice@laptop (pid 7)")
        guard case .moved = try await bob.hold(login, as: "bob", unlessChangedSince: seen) else {
            Issue.record("what changed in between was not noticed")
            return
        }
        #expect(try await place.becomesFree(within: 2))
        let now = try await place.mark(bob)
        #expect(!now.isHeld)
        #expect(try await bob.hold(login, as: "bob", unlessChangedSince: now) == .held)
        // Nothing was changed, so nobody's plan is of yesterday.
        await bob.release(login, changed: false)
        #expect(try await place.mark(alice) == now)
        #expect(try await place.nothingIsLeft())
        await alice.close()
        await bob.close()
    }

    @Test func `It ends with the connection, also for what was started over it`() async throws {
        let place = try Place()
        let login = place.server.login()
        let (alice, bob) = (place.pool(), place.pool())
        let before = try await place.mark(bob)
        #expect(try await alice.hold(login, as: "alice", unlessChangedSince: before) == .held)
        let pid = place.server.scratch.file("pid")
        // Stays behind, as what a step starts may.
        let script = "setsid sleep 60 </dev/null >/dev/null 2>&1 & echo $! >\(pid)"
        #expect(try await alice.run(login, HostCommand(arguments: ["sh", "-c", script])).status == 0)
        let section = HostSection(name: "descriptors", script: "ls /proc/self/fd | grep -c '^9$'; :")
        #expect(try await alice.probe(login, sections: [section]).sections["descriptors"]?.output == "0\n")
        #expect(!place.isFree)
        await alice.close()
        #expect(try await place.becomesFree(within: 5))
        _ = try Programs.run(["kill", try String(contentsOfFile: pid, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)])
        // Died after a change, or before it: nobody knows, so a plan of before does not count, and one of now does.
        guard case .moved = try await bob.hold(login, as: "bob", unlessChangedSince: before) else {
            Issue.record("what changed in between was not noticed")
            return
        }
        let now = try await place.mark(bob)
        let second = try await bob.hold(login, as: "bob", unlessChangedSince: now)
        #expect(second == .held, "\(now)")
        await bob.close()
        #expect(try await place.nothingIsLeft())
    }

    @Test func `A new connection takes it again before it runs anything`() async throws {
        let place = try Place()
        let login = place.server.login()
        let (alice, bob) = (place.pool(), place.pool())
        #expect(try await alice.hold(login, as: "alice", unlessChangedSince: HostMark()) == .held)
        await alice.reconnect(login)
        #expect(try await alice.run(login, HostCommand(arguments: ["true"])).status == 0)
        #expect(!place.isFree)

        // Somebody got in between, and has looked at what alice left.
        await alice.reconnect(login)
        #expect(try await place.becomesFree(within: 5))
        #expect(try await bob.hold(login, as: "bob", unlessChangedSince: try await place.mark(bob)) == .held)
        let failure = await #expect(throws: HostFailure.self) { try await alice.run(login, HostCommand(arguments: ["true"])) }
        #expect(failure?.cause == .unreachable && failure?.message.contains("bob has taken it since") == true, "\(failure?.message ?? "")")
        await bob.release(login, changed: true)
        let late = await #expect(throws: HostFailure.self) { try await alice.run(login, HostCommand(arguments: ["true"])) }
        #expect(late?.message.contains("bob has taken it since") == true, "\(late?.message ?? "")")
        await alice.close()
        await bob.close()
    }

    @Test func `Our own connection that hangs is sent away`() async throws {
        let place = try Place()
        let login = place.server.login()
        // A step that never ends keeps the shell, and with it the lock, when the connection goes.
        var options = place.options
        options.stepTimeout = .milliseconds(500)
        let alice = HostPool(options: options)
        #expect(try await alice.hold(login, as: "alice", unlessChangedSince: HostMark()) == .held)
        let pid = place.server.scratch.file("pid")
        await #expect(throws: HostFailure.self) {
            try await alice.run(login, HostCommand(arguments: ["sh", "-c", "echo $$ >\(pid); exec sleep 60"]))
        }
        #expect(!place.isFree)
        #expect(try await alice.run(login, HostCommand(arguments: ["echo", "again"])).output == "again\n")
        #expect(!place.isFree)
        _ = try Programs.run(["kill", try String(contentsOfFile: pid, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)])
        await alice.close()
        #expect(try await place.becomesFree(within: 5))
    }

    @Test func `Without a sign of life it ends`() async throws {
        let place = try Place(patience: 1)
        let login = place.server.login()
        let (alice, bob) = (place.pool(), place.pool())
        #expect(try await alice.hold(login, as: "alice", unlessChangedSince: HostMark()) == .held)
        #expect(try await place.becomesFree(within: 10))
        let mark = try await place.mark(bob)
        #expect(!mark.isHeld && mark.who == "alice")
        #expect(try await bob.hold(login, as: "bob", unlessChangedSince: mark) == .held)
        // Alice, awake again, does nothing without it.
        await #expect(throws: HostFailure.self) { try await alice.run(login, HostCommand(arguments: ["true"])) }
        await alice.close()
        await bob.close()
        #expect(try await place.nothingIsLeft())
    }

    @Test func `What a holder says of itself is data`() async throws {
        let place = try Place()
        let login = place.server.login()
        let alice = place.pool()
        let proof = place.server.scratch.file("proof")
        let who = "$(touch \(proof)) `touch \(proof)` '\\n\u{1B}[31m * \"é\u{1F600}"
        #expect(try await alice.hold(login, as: who, unlessChangedSince: HostMark()) == .held)
        let mark = try await place.mark(alice)
        #expect(mark.who == "$(touch \(proof)) `touch \(proof)` '\\n [31m * \"é\u{1F600}", "\(mark.who)")
        #expect(!place.server.scratch.exists("proof"))
        await alice.close()
        // And so is what others wrote there.
        let lines = ["", "x", "a open", "a open b c", "a open -1 1 \u{1B}[31m \u{1B}[31mbob", "* * * * * *", "a open $(touch \(proof)) 1 2 3"]
        #expect(try await place.becomesFree(within: 5))
        for line in lines {
            try place.server.scratch.write(line + "\n", to: "run/holder")
            let bob = place.pool()
            let mark = try await place.mark(bob)
            #expect(!mark.isHeld && !"\(mark.who)\(mark.since)".contains("\u{1B}"), "\(line)")
            #expect(try await bob.hold(login, as: "bob", unlessChangedSince: mark) == .held, "\(line)")
            await bob.release(login, changed: false)
            await bob.close()
        }
        #expect(!place.server.scratch.exists("proof"))
    }

    @Test func `A place that can not be locked says why`() async throws {
        let place = try Place()
        var options = place.options
        options.holds.folder = "/proc/plumb"
        let alice = HostPool(options: options)
        guard case .refused(.said(let why)) = try await alice.hold(place.server.login(), as: "alice", unlessChangedSince: HostMark()) else {
            Issue.record("held where nothing can be written")
            return
        }
        #expect(why.contains("/proc/plumb"), "\(why)")
        await alice.close()
    }
}
