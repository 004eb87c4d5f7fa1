import Forge
import Foundation
package import Values

/// What is asked over the control socket: one line of JSON, `{"command":"status",…}`. One request a connection; the answers are lines, too.
package struct ControlRequest: Hashable, Sendable {
    /// A longer request is none.
    static let limit = 64 << 10

    /// `status`, `push`, …
    package var command: String
    /// What stands beside `command`.
    package var fields: [String: Value]

    package init(_ command: String, _ fields: [String: Value] = [:]) {
        self.command = command
        self.fields = fields
    }

    init?(line: some Sequence<UInt8>) {
        guard let value = try? Value(json: line), var fields = value.objectValue, let command = fields.removeValue(forKey: "command")?.stringValue
        else { return nil }
        self.init(command, fields)
    }

    var line: String { Value.object(fields.merging(["command": .string(command)]) { $1 }).canonicalJSON + "\n" }
}

/// Who is at the other end, by the kernel's word.
package struct ControlPeer: Hashable, Sendable {
    package var user: UInt32
    package var group: UInt32
    package var process: Int32

    package init(user: UInt32, group: UInt32, process: Int32) {
        self.user = user
        self.group = group
        self.process = process
    }
}

/// The kernel's `struct ucred`, which Glibc's module does not show.
struct PeerCredentials: Sendable {
    var process: Int32 = 0
    var user: UInt32 = 0
    var group: UInt32 = 0
}

/// An answer that is none.
package struct ControlFailure: Error, Hashable, Sendable, CustomStringConvertible {
    package var message: String
    package var fix: String

    package init(_ message: String, fix: String = "") {
        self.message = message
        self.fix = fix
    }

    package var description: String { fix.isEmpty ? message : "\(message). \(fix)" }

    var value: Value { ["error": .string(message), "fix": .string(fix)] }

    init?(_ reply: Value) {
        guard let message = reply["error"]?.stringValue else { return nil }
        self.init(message, fix: reply["fix"]?.stringValue ?? "")
    }
}

/// One ref that a hook saw moving.
package struct HookLine: Hashable, Sendable {
    package var ref: String
    /// nil: the ref was deleted.
    package var commit: String?

    /// `OLD NEW REF`, as git gives it to a post-receive hook.
    package init?(_ line: some StringProtocol) {
        let parts = line.split(separator: " ", maxSplits: 2)
        guard parts.count == 3, parts[2].hasPrefix("refs/") else { return nil }
        ref = String(parts[2])
        commit = PushNotice.commit(String(parts[1]))
    }
}

extension ControlRequest {
    /// More refs than this in one push are said as one: look at what is followed.
    private static let mostLines = 64

    /// What a post-receive hook tells.
    ///
    /// - Parameter wait: how long the pusher waits for the outcome; zero: not at all.
    package static func push(repository: String, lines: [HookLine], wait: Duration) -> ControlRequest {
        let isMuch = lines.count > mostLines || lines.reduce(0) { $0 + $1.ref.utf8.count } > limit / 4
        let refs = isMuch ? [] : lines.map { Value.object(["ref": .string($0.ref), "commit": $0.commit.map(Value.string) ?? .null]) }
        return ControlRequest("push", ["repository": .string(repository), "refs": .array(refs), "wait": .int(wait.components.seconds)])
    }

    /// What `push` says, if it is well-formed.
    var push: (repository: String, notices: [PushNotice], wait: Duration)? {
        guard let repository = fields["repository"]?.stringValue, repository.hasPrefix("/"), let refs = fields["refs"]?.arrayValue else { return nil }
        var notices = refs.prefix(Self.mostLines).compactMap { line -> PushNotice? in
            guard let ref = line["ref"]?.stringValue, ref.hasPrefix("refs/") else { return nil }
            let commit = line["commit"]?.stringValue.flatMap(PushNotice.commit)
            return PushNotice(provider: "hook", repositories: [repository], ref: ref, commit: commit)
        }
        if refs.isEmpty { notices = [PushNotice(provider: "hook", repositories: [repository])] }
        guard !notices.isEmpty else { return nil }
        return (repository, notices, .seconds(min(max(fields["wait"]?.intValue ?? 0, 0), 3600)))
    }
}
