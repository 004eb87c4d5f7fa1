import Controller
import Forge
import Foundation
import Logging
import Synchronization
import Testing
import Values

@Suite struct ControlSocketTests {
    private final class Seen: Sendable {
        private let state = Mutex<(pushes: [PushNotice], peers: [ControlPeer], cancelled: Int)>(([], [], 0))
        var pushes: [PushNotice] { state.withLock { $0.pushes } }
        var peers: [ControlPeer] { state.withLock { $0.peers } }
        var cancelled: Int { state.withLock { $0.cancelled } }
        func add(_ notices: [PushNotice], _ peer: ControlPeer) {
            state.withLock {
                $0.pushes += notices
                $0.peers.append(peer)
            }
        }
        func cancel() { state.withLock { $0.cancelled += 1 } }
    }

    private func socket(_ path: String, group: String? = nil, limits: ControlSocket.Limits = .init(), _ seen: Seen = Seen()) -> ControlSocket {
        ControlSocket(
            path: path,
            group: group,
            repository: FollowedRepository(url: "file:///srv/git/specs.git"),
            limits: limits,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            onPush: { notices, _, peer in
                seen.add(notices, peer)
                if notices.contains(where: { $0.ref == "refs/heads/slow" }) {
                    do { try await Task.sleep(for: .seconds(60)) } catch { seen.cancel() }
                }
                return ["2ab3f1 applied: 1 changed", "second line"]
            },
            onCommand: { request, peer in
                switch request.command {
                case "status": ["user": .int(Int64(peer.user)), "asked": request.fields["what"] ?? .null]
                case "large": ["text": .string(String(repeating: "x", count: 5 << 20))]
                default: nil
                }
            }
        )
    }

    private func withSocket(
        group: String? = nil,
        limits: ControlSocket.Limits = .init(),
        seen: Seen = Seen(),
        _ test: (String) async throws -> Void
    ) async throws {
        try await withFolder { folder in
            let path = "\(folder)/control.sock"
            let socket = socket(path, group: group, limits: limits, seen)
            try await beside(running(socket, at: path), test)
        }
    }

    private func running(_ socket: ControlSocket, at path: String) -> @Sendable (@escaping @Sendable (String) -> Void) async throws -> Void {
        { report in try await socket.run { report(path) } }
    }

    private func ask(_ path: String, _ request: ControlRequest, seconds: Int = 20) async throws -> Value {
        try await onThread { try ControlClient.send(request, to: path, timeout: .seconds(seconds)) }
    }

    private func failure(_ path: String, _ request: ControlRequest, seconds: Int = 20) async -> ControlFailure? {
        do {
            let value = try await ask(path, request, seconds: seconds)
            Issue.record("answered: \(value)")
            return nil
        } catch { return error as? ControlFailure }
    }

    @Test func answersItsOwnUser() async throws {
        try await withSocket { path in
            let answer = try await ask(path, ControlRequest("status", ["what": "all"]))
            #expect(answer == ["user": .int(Int64(geteuid())), "asked": "all"])
            #expect(try await ask(path, ControlRequest("large"))["text"]?.stringValue?.utf8.count == 5 << 20)
            #expect(await failure(path, ControlRequest("dance"))?.message == "there is no such command")
            let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
            #expect(mode == 0o600)
        }
    }

    @Test func takesPushesOfTheFollowedRepository() async throws {
        let seen = Seen()
        try await withSocket(seen: seen) { path in
            let commit = String(repeating: "a", count: 40)
            let none = String(repeating: "0", count: 40)
            let lines = ["\(none) \(commit) refs/heads/main", "\(commit) \(none) refs/heads/old", "x", "\(none) \(commit) nonsense"].compactMap {
                HookLine($0)
            }
            #expect(lines.count == 2)
            let request = ControlRequest.push(repository: "/srv/git/specs.git", lines: lines, wait: .seconds(5))
            let answer = try await ask(path, request)
            #expect(answer == ["done": true, "lines": ["2ab3f1 applied: 1 changed", "second line"]])
            #expect(
                seen.pushes == [
                    PushNotice(provider: "hook", repositories: ["/srv/git/specs.git"], ref: "refs/heads/main", commit: commit),
                    PushNotice(provider: "hook", repositories: ["/srv/git/specs.git"], ref: "refs/heads/old"),
                ]
            )
            #expect(seen.peers.map(\.process) == [getpid()])
            let other = ControlRequest.push(repository: "/srv/git/other.git", lines: lines, wait: .seconds(5))
            #expect(await failure(path, other)?.message == "this repository is not followed here")
            // Many refs are one notice: whatever is followed.
            let many = (0..<1000).compactMap { HookLine("\(none) \(commit) refs/heads/\($0)") }
            _ = try await ask(path, .push(repository: "/srv/git/specs.git", lines: many, wait: .zero))
            #expect(seen.pushes.dropFirst(2) == [PushNotice(provider: "hook", repositories: ["/srv/git/specs.git"])])
        }
    }

    /// The kernel says who asks. Others may announce a push, and nothing else.
    @Test func letsOthersOnlyPush() async throws {
        let seen = Seen()
        try await withSocket(seen: seen) { path in
            try FileManager.default.setAttributes([.posixPermissions: 0o666], ofItemAtPath: path)
            func asNobody(_ request: String) async throws -> String {
                let program = "$s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; print $s \"$ARGV[1]\\n\"; $s->flush; print while <$s>"
                let other = [
                    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-MIO::Socket::UNIX", "-e", program, path, request,
                ]
                let outcome = try await command(other)
                #expect(outcome.status == 0, "\(outcome.output)")
                return outcome.output
            }
            #expect(try await asNobody(#"{"command":"status"}"#).contains("only root and the user that runs the daemon may ask this"))
            let said = try await asNobody(
                #"{"command":"push","repository":"/srv/git/specs.git","refs":[{"ref":"refs/heads/main","commit":null}],"wait":5}"#
            )
            #expect(said == "{\"accepted\":true}\n{\"done\":true,\"lines\":[\"2ab3f1 applied: 1 changed\",\"second line\"]}\n")
            #expect(seen.peers.map(\.user) == [65534])
        }
    }

    @Test func givesItToAGroup() async throws {
        try await withSocket(group: "daemon") { path in
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            #expect(attributes[.posixPermissions] as? Int == 0o660)
            #expect(attributes[.groupOwnerAccountName] as? String == "daemon")
        }
        try await withFolder { folder in
            let failure = await #expect(throws: ListeningFailure.self) { try await socket("\(folder)/s", group: "no-such-group").run() }
            #expect(failure?.message == "there is no group 'no-such-group'")
        }
    }

    @Test(arguments: [
        "nonsense\n", "{}\n", "[]\n", "\n", "{\"command\":1}\n", "\u{0}\u{0}\n", "{\"command\":\"push\"}\n",
        "{\"command\":\"push\",\"repository\":\"x\",\"refs\":[]}\n",
        String(repeating: "x", count: 70_000), String(repeating: "[", count: 60_000) + "\n",
    ])
    func refusesWhatIsNoRequest(_ text: String) async throws {
        let seen = Seen()
        try await withSocket(seen: seen) { path in
            var wire = try await Wire.open(path: path)
            try? await wire.send(text)
            #expect(try await wire.line().hasPrefix("{\"error\":"))
            #expect(await wire.rest().isEmpty)
            #expect(seen.pushes.isEmpty)
        }
    }

    @Test func survivesNonsense() async throws {
        try await withSocket { path in
            var dice = Dice(1)
            for _ in 0..<100 {
                let wire = try await Wire.open(path: path)
                try? await wire.send((0..<Int.random(in: 1...2000, using: &dice)).map { _ in UInt8.random(in: 0...255, using: &dice) })
                await wire.close()
            }
            let answer = try await ask(path, ControlRequest("status"))
            #expect(answer["user"] != nil)
        }
    }

    @Test func endsWhoDoesNotGoOn() async throws {
        var limits = ControlSocket.Limits()
        limits.deadline = .milliseconds(200)
        try await withSocket(limits: limits) { path in
            for start in ["", "{\"command\":"] {
                var wire = try await Wire.open(path: path)
                if !start.isEmpty { try await wire.send(start) }
                #expect(await wire.rest().isEmpty)
            }
            // Who takes no answer.
            let deaf = try await Wire.open(path: path)
            try await deaf.send("{\"command\":\"large\"}\n")
            let answer = try await ask(path, ControlRequest("status"))
            #expect(answer["user"] != nil)
            await deaf.close()
        }
    }

    /// Who is gone before anybody asks who it was, and who comes in the moment it ends.
    @Test func survivesThoseWhoComeAndGo() async throws {
        for _ in 0..<20 {
            try await withSocket { path in
                for _ in 0..<50 { Task { try? await Wire.open(path: path).close() } }
                _ = try await Wire.open(path: path)
            }
        }
    }

    @Test func takesOnlySoManyAtATime() async throws {
        var limits = ControlSocket.Limits()
        (limits.connections, limits.deadline) = (4, .seconds(3))
        try await withSocket(limits: limits) { path in
            var crowd: [Wire] = []
            for _ in 0..<5 { crowd.append(try await Wire.open(path: path)) }
            // Which of them is accepted last is not ours to say.
            var refused = 0
            for wire in crowd {
                var wire = wire
                if await wire.rest().contains("more than 4 ask at the same time") { refused += 1 }
            }
            #expect(refused == 1)
            // Their places are free again, soon.
            let deadline = ContinuousClock.now + .seconds(20)
            var answer: Value?
            while answer == nil, ContinuousClock.now < deadline { answer = try? await ask(path, ControlRequest("status")) }
            #expect(answer?["user"] != nil)
        }
    }

    @Test func saysWhenAPushTakesLonger() async throws {
        let seen = Seen()
        try await withSocket(seen: seen) { path in
            let line = try #require(HookLine("\(String(repeating: "0", count: 40)) \(String(repeating: "a", count: 40)) refs/heads/slow"))
            let answer = try await ask(path, .push(repository: "/srv/git/specs.git", lines: [line], wait: .zero))
            #expect(answer == ["done": false, "lines": []])
            #expect(seen.cancelled == 1)
            // Who goes away is not waited for either.
            var wire = try await Wire.open(path: path)
            try await wire.send(#"{"command":"push","repository":"/srv/git/specs.git","refs":[{"ref":"refs/heads/slow"}],"wait":50}"# + "\n")
            #expect(try await wire.line() == "{\"accepted\":true}")
            await wire.close()
            let deadline = ContinuousClock.now + .seconds(20)
            while seen.cancelled < 2, ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(5)) }
            #expect(seen.cancelled == 2)
        }
    }

    @Test func takesThePlaceOfADeadOneOnly() async throws {
        try await withFolder { folder in
            let path = "\(folder)/control.sock"
            let first = socket(path)
            try await beside(running(first, at: path)) { path in
                let second = socket(path)
                let failure = await #expect(throws: ListeningFailure.self) { try await second.run() }
                #expect(failure?.message == "another plumb serves \(path) (process \(getpid()))")
                let answer = try await ask(path, ControlRequest("status"))
                #expect(answer["user"] != nil)
            }
            #expect(!FileManager.default.fileExists(atPath: path))

            // Left by one that was killed.
            let left = try await command(["perl", "-MIO::Socket::UNIX", "-e", "IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die", path])
            #expect(left.status == 0 && FileManager.default.fileExists(atPath: path))
            let third = socket(path)
            try await beside(running(third, at: path)) { path in
                let answer = try await ask(path, ControlRequest("status"))
                #expect(answer["user"] != nil)
            }

            try "precious".write(toFile: path, atomically: true, encoding: .utf8)
            let fourth = socket(path)
            let failure = await #expect(throws: ListeningFailure.self) { try await fourth.run() }
            #expect(failure?.message == "\(path) is there and no socket")
            #expect(try String(contentsOfFile: path, encoding: .utf8) == "precious")
            let long = await #expect(throws: ListeningFailure.self) { try await socket("/\(String(repeating: "x", count: 200))").run() }
            #expect(long?.fix.contains("/run/plumb/control.sock") == true)
        }
    }

    @Test func saysWhyItDoesNotReachADaemon() async throws {
        try await withFolder { folder in
            let path = "\(folder)/control.sock"
            #expect(await failure(path, ControlRequest("status"))?.message == "no daemon: there is no \(path)")
            let left = try await command(["perl", "-MIO::Socket::UNIX", "-e", "IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die", path])
            #expect(left.status == 0)
            #expect(await failure(path, ControlRequest("status"))?.message == "no daemon: nobody listens on \(path)")
        }
        // One that takes the connection and says nothing.
        try await withSocket { path in
            let line = try #require(HookLine("\(String(repeating: "0", count: 40)) \(String(repeating: "a", count: 40)) refs/heads/slow"))
            let request = ControlRequest.push(repository: "/srv/git/specs.git", lines: [line], wait: .seconds(50))
            #expect(await failure(path, request, seconds: 1)?.message == "the daemon did not answer in time")
        }
    }
}
