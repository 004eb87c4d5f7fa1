import Controller
import Forge
import Foundation
import Logging
import Synchronization
import Testing

/// Real git, the real hook, and a daemon that only says what it heard.
@Suite struct HookTests {
    private final class Heard: Sendable {
        private let state = Mutex<[(PushNotice, ControlPeer)]>([])
        var notices: [PushNotice] { state.withLock { $0.map(\.0) } }
        var users: [UInt32] { state.withLock { $0.map(\.1.user) } }
        func add(_ notices: [PushNotice], _ peer: ControlPeer) { state.withLock { $0 += notices.map { ($0, peer) } } }
    }

    /// A bare repository, a checkout of it, and room for a socket.
    private struct Place {
        var folder: String
        /// With what a shell would take apart.
        var bare: String { "\(folder)/it's a repo.git" }
        var checkout: String { "\(folder)/checkout" }
        var socket: String { "\(folder)/control.sock" }
        /// Whose repository it is, and who pushes; nil: who runs the tests.
        var user: UInt32?

        var environment: [String: String] {
            var variables = ["HOME": folder, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null"]
            for role in ["AUTHOR", "COMMITTER"] {
                variables["GIT_\(role)_NAME"] = "A"
                variables["GIT_\(role)_EMAIL"] = "a@example.com"
            }
            return variables
        }

        @discardableResult
        func git(_ arguments: String..., expecting status: Int32 = 0) async throws -> Outcome {
            let other = user.map { ["setpriv", "--reuid=\($0)", "--regid=\($0)", "--clear-groups"] } ?? []
            let outcome = try await run(other + ["git"] + arguments, environment: environment, folder: folder)
            #expect(outcome.status == status, "git \(arguments.joined(separator: " ")): \(outcome.errorOutput)")
            return outcome
        }

        /// Commits and pushes; nothing of it may fail, whatever the hook does.
        func push(_ message: String, to branch: String = "main") async throws -> Outcome {
            try await git("-C", checkout, "commit", "--quiet", "--allow-empty", "--message", message)
            return try await git("-C", checkout, "push", "--quiet", "origin", "HEAD:\(branch)")
        }

        func head() async throws -> String {
            try await git("-C", checkout, "rev-parse", "HEAD").output.trimmingCharacters(in: .whitespacesAndNewlines)
        }
    }

    private func withPlace(user: UInt32? = nil, _ test: (Place) async throws -> Void) async throws {
        // A short path: that of a socket has few bytes.
        let place = Place(folder: "/tmp/plumb-\(UUID().uuidString.prefix(8))", user: user)
        try FileManager.default.createDirectory(atPath: place.folder, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o755])
        defer { try? FileManager.default.removeItem(atPath: place.folder) }
        if let user { #expect(chown(place.folder, user, user) == 0) }
        try await place.git("init", "--quiet", "--bare", "--initial-branch=main", place.bare)
        try await place.git("clone", "--quiet", place.bare, place.checkout)
        try await test(place)
    }

    private func withDaemon(
        _ place: Place,
        group: String? = nil,
        following: String? = nil,
        says: @escaping @Sendable ([PushNotice]) async -> [String] = { ["\($0.first?.commit?.prefix(6) ?? "-") applied: 1 changed"] },
        _ test: (Heard) async throws -> Void
    ) async throws {
        let heard = Heard()
        let daemon = ControlSocket(
            path: place.socket,
            group: group,
            repository: FollowedRepository(url: following ?? "file://\(place.bare)"),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            onPush: { notices, _, peer in
                heard.add(notices, peer)
                return await says(notices)
            },
            onCommand: { _, _ in nil }
        )
        let (listening, sink) = AsyncStream.makeStream(of: Void.self)
        let serving = Task {
            defer { sink.finish() }
            try await daemon.run { sink.yield() }
        }
        var iterator = listening.makeAsyncIterator()
        guard await iterator.next() != nil else { return try await serving.value }
        let outcome: Result<Void, any Error>
        do { outcome = .success(try await test(heard)) } catch { outcome = .failure(error) }
        serving.cancel()
        _ = await serving.result
        try outcome.get()
    }

    private func install(_ place: Place, _ more: String..., program: String = plumb) async throws -> Outcome {
        try await run([program, "hook", "install", place.bare, "--socket", place.socket] + more, folder: place.folder)
    }

    @Test func tellsOfAPushAndShowsWhatBecameOfIt() async throws {
        try await withPlace { place in
            let installed = try await install(place)
            #expect(installed.status == 0, "\(installed.errorOutput)")
            #expect(installed.output == "Wrote \(place.bare)/hooks/post-receive.\n")
            try await withDaemon(place) { heard in
                let pushed = try await place.push("one")
                let head = try await place.head()
                #expect(heard.notices == [PushNotice(provider: "hook", repositories: [place.bare], ref: "refs/heads/main", commit: head)])
                #expect(heard.users == [geteuid()])
                #expect(pushed.errorOutput.contains("remote: plumb: \(head.prefix(6)) applied: 1 changed"), "\(pushed.errorOutput)")

                try await place.git("-C", place.checkout, "push", "--quiet", "origin", "HEAD:other", "HEAD:refs/tags/v1")
                try await place.git("-C", place.checkout, "push", "--quiet", "origin", ":other")
                #expect(heard.notices.dropFirst().map(\.ref) == ["refs/heads/other", "refs/tags/v1", "refs/heads/other"])
                #expect(heard.notices.dropFirst().map(\.commit) == [head, head, nil])
            }
        }
    }

    /// The usual case: people push as `git`, the daemon is root.
    @Test func hearsOtherUsers() async throws {
        try await withPlace(user: 65_534) { place in
            // They need not be able to reach where this was built.
            let program = "\(place.folder)/plumb"
            #expect(try await run(["cp", plumb, program]).status == 0)
            #expect(try await install(place, program: program).status == 0)
            try await withDaemon(place, group: "nogroup") { heard in
                let pushed = try await place.push("one")
                #expect(pushed.errorOutput.contains("applied: 1 changed"), "\(pushed.errorOutput)")
                #expect(heard.users == [65_534])
            }
            // Without the group they can't connect; the push is no worse for it.
            try await withDaemon(place) { heard in
                let pushed = try await place.push("two")
                #expect(pushed.errorOutput.contains("is not for this user; the next poll finds the push"), "\(pushed.errorOutput)")
                #expect(heard.notices.isEmpty)
            }
            // And where even the program is not theirs to run.
            #expect(chmod(program, 0o700) == 0)
            let pushed = try await place.push("three")
            #expect(pushed.errorOutput.contains("the next poll finds the push"), "\(pushed.errorOutput)")
        }
    }

    @Test func failsNoPush() async throws {
        try await withPlace { place in
            #expect(try await install(place, "--wait", "1s").status == 0)
            let alone = try await place.push("nobody listens")
            #expect(alone.errorOutput.contains("no daemon: there is no \(place.socket); the next poll finds the push"), "\(alone.errorOutput)")
            try await withDaemon(place, following: "file:///srv/git/other.git") { heard in
                let pushed = try await place.push("of another")
                #expect(pushed.errorOutput.contains("this repository is not followed here"), "\(pushed.errorOutput)")
                #expect(heard.notices.isEmpty)
            }
            let slow: @Sendable ([PushNotice]) async -> [String] = { _ in
                try? await Task.sleep(for: .seconds(60))
                return []
            }
            try await withDaemon(place, says: slow) { heard in
                let pushed = try await place.push("slow")
                #expect(pushed.errorOutput.contains("plumb: not through after 1s"), "\(pushed.errorOutput)")
                #expect(heard.notices.count == 1)
            }
            let hostile: @Sendable ([PushNotice]) async -> [String] = { _ in
                ["\u{1B}[2Jcleared\nremote: forged", String(repeating: "x", count: 10_000)] + Array(repeating: "line", count: 1000)
            }
            try await withDaemon(place, says: hostile) { _ in
                let pushed = try await place.push("hostile")
                #expect(pushed.errorOutput.contains("plumb: \\u{1B}[2Jcleared\\nremote: forged"), "\(pushed.errorOutput)")
                #expect(pushed.errorOutput.utf8.count < 5_000)
            }
        }
    }

    @Test func tellsOfOneRefIfAsked() async throws {
        try await withPlace { place in
            #expect(try await install(place, "--ref", "main", "--wait", "0s").status == 0)
            try await withDaemon(place) { heard in
                _ = try await place.push("one", to: "other")
                #expect(heard.notices.isEmpty)
                let pushed = try await place.push("two")
                #expect(heard.notices.map(\.ref) == ["refs/heads/main"])
                #expect(pushed.errorOutput.contains("plumb:"))
            }
        }
    }

    @Test func leavesHooksOfOthersAlone() async throws {
        try await withPlace { place in
            let hook = "\(place.bare)/hooks/post-receive"
            try "#!/bin/sh\necho mine\n".write(toFile: hook, atomically: true, encoding: .utf8)
            let refused = try await install(place)
            #expect(refused.status == 1)
            #expect(refused.errorOutput.contains("is there and not Plumb's"))
            #expect(refused.errorOutput.contains("hook notify --socket '\(place.socket)'"))
            #expect(try String(contentsOfFile: hook, encoding: .utf8) == "#!/bin/sh\necho mine\n")

            // One that runs several: ours is put beside the others.
            try "#!/bin/sh\nfor part in \"$0\".d/*; do \"$part\"; done\n".write(toFile: hook, atomically: true, encoding: .utf8)
            #expect(chmod(hook, 0o755) == 0)
            try FileManager.default.createDirectory(atPath: "\(hook).d", withIntermediateDirectories: false)
            #expect(try await install(place).output == "Wrote \(hook).d/plumb.\n")
            try await withDaemon(place) { heard in
                _ = try await place.push("one")
                #expect(heard.notices.count == 1)
            }
            let removed = try await run([plumb, "hook", "remove", place.bare])
            #expect(removed.output == "Removed \(hook).d/plumb.\n")
            #expect(FileManager.default.fileExists(atPath: hook))
        }
    }

    @Test func writesItAnewAndTakesItAway() async throws {
        try await withPlace { place in
            let hook = "\(place.bare)/hooks/post-receive"
            for wait in ["5s", "6s"] { #expect(try await install(place, "--wait", wait).status == 0) }
            let text = try String(contentsOfFile: hook, encoding: .utf8)
            #expect(text.contains("--wait '6s'") && !text.contains("5s"))
            #expect(try FileManager.default.attributesOfItem(atPath: hook)[.posixPermissions] as? Int == 0o755)
            #expect(
                try FileManager.default.contentsOfDirectory(atPath: "\(place.bare)/hooks").filter { $0.hasPrefix("post-receive") } == ["post-receive"]
            )
            #expect(try await run([plumb, "hook", "remove", place.bare]).output == "Removed \(hook).\n")
            #expect(try await run([plumb, "hook", "remove", place.bare]).output == "There is no hook of Plumb's.\n")
        }
    }

    @Test func saysWhyAHookWouldNotRun() async throws {
        try await withPlace { place in
            try await place.git("-C", place.bare, "config", "core.hooksPath", "/etc/git-hooks")
            let outcome = try await install(place)
            #expect(outcome.status == 1)
            #expect(outcome.errorOutput.contains("looks for this repository's hooks in /etc/git-hooks"))
            let nothing = try await run([plumb, "hook", "install", place.folder, "--socket", place.socket])
            #expect(nothing.status == 1)
            #expect(nothing.errorOutput.contains("is no git repository"))
            #expect(try await run([plumb, "hook", "install", "\(place.folder)/none.git"]).status == 1)
            let closed = "\(place.folder)/closed"
            try FileManager.default.createDirectory(atPath: closed, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
            try await place.git("-C", place.bare, "config", "--unset", "core.hooksPath")
            let warned = try await run([plumb, "hook", "install", place.bare, "--data-dir", closed])
            #expect(warned.status == 0)
            #expect(warned.errorOutput.contains("only the owner of \(closed) reaches the socket"))
        }
    }
}
