import Foundation
import Glibc
import Stores
import Testing

struct LockTests {
    private let holder = LockHolder(caller: alice, since: noon, command: "plumb apply state")

    private func take(_ directory: DataDirectory, for holder: LockHolder? = nil) throws -> ApplyLock? {
        if case .taken(let lock) = try ApplyLock.take(in: directory, for: holder ?? self.holder) { lock } else { nil }
    }

    @Test func oneAtATime() async throws {
        try await withScratch { path in
            let directory = try DataDirectory(creating: path)
            let first = try #require(try take(directory))
            var named = holder
            named.run = 7
            try first.write(named)
            guard case .held(let other) = try ApplyLock.take(in: directory, for: holder) else {
                Issue.record("taken twice")
                return
            }
            #expect(other == named && other?.caller.process.liveness == .alive)
            #expect(mode(of: "\(path)/apply.lock") == 0o600)
            first.release()
            #expect(try take(directory) != nil)
        }
    }

    @Test func whatADeadHolderLeftBlocksNobody() async throws {
        try await withScratch { path in
            let directory = try DataDirectory(creating: path)
            // As a process that was killed leaves it: the words stay, the lock does not.
            do { _ = try #require(try take(directory)) }
            #expect(FileManager.default.contents(atPath: "\(path)/apply.lock")?.isEmpty == false)
            #expect(try take(directory) != nil)
        }
    }

    @Test func aHolderNoticesThatItsLockWasTakenAway() async throws {
        try await withScratch { path in
            let directory = try DataDirectory(creating: path)
            let first = try #require(try take(directory))
            try ApplyLock.force(in: directory)
            #expect(!first.isHeld)
            let second = try #require(try take(directory))
            first.release()
            #expect(second.isHeld)
            #expect(try take(directory) == nil, "what the first released is not the second's")
        }
    }

    @Test func tellsTheLivingFromTheDead() throws {
        let own = ProcessIdentity.current
        #expect(own.liveness == .alive && own.started > 0)
        var other = own
        other.started += 1
        #expect(other.liveness == .dead, "the number belongs to another process by now")
        other = own
        other.bootID = "of another machine"
        #expect(other.liveness == .unknown)
        other = own
        other.namespace = "pid:[1]"
        #expect(other.liveness == .unknown)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/true")
        try process.run()
        process.waitUntilExit()
        other = own
        other.pid = process.processIdentifier
        #expect(other.liveness == .dead)
    }

    @Test func saysWhoCalled() {
        let caller = Caller.current(environment: ["SSH_CONNECTION": "192.0.2.5 50000 192.0.2.1 22", "SUDO_USER": "alice"])
        #expect(caller.origin == "192.0.2.5")
        #expect(geteuid() != 0 || caller.user == "alice (as root)")
        #expect(Caller.current(environment: [:]).origin == nil)
    }
}
