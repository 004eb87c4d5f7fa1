import Foundation
import Glibc

/// A process, so that it can be told apart from a later one with the same number.
package struct ProcessIdentity: Hashable, Sendable, Codable {
    package enum Liveness: Hashable, Sendable {
        case alive
        case dead
        /// Of another machine, or of a container whose processes we don't see.
        case unknown
    }

    package var pid: Int32
    /// When it started, in clock ticks since the machine did.
    package var started: UInt64
    /// The kernel's name for the time since the machine started.
    package var bootID: String
    /// Which process numbers it is one of: containers of one machine have their own.
    package var namespace: String

    package init(pid: Int32, started: UInt64, bootID: String, namespace: String) {
        self.pid = pid
        self.started = started
        self.bootID = bootID
        self.namespace = namespace
    }

    package static let current = ProcessIdentity(
        pid: getpid(),
        started: status(of: getpid())?.started ?? 0,
        bootID: contents(of: "/proc/sys/kernel/random/boot_id").trimmingCharacters(in: .whitespacesAndNewlines),
        namespace: (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/pid")) ?? ""
    )

    /// Whether it still runs, as far as that can be seen from here.
    package var liveness: Liveness {
        let here = Self.current
        guard bootID == here.bootID, namespace == here.namespace else { return .unknown }
        if kill(pid, 0) != 0, errno == ESRCH { return .dead }
        // Not readable although it is there: /proc hides the processes of others. Then the number has to do.
        guard let status = Self.status(of: pid) else { return .alive }
        return status.started == started && !status.isEnded ? .alive : .dead
    }

    private static func status(of pid: Int32) -> (started: UInt64, isEnded: Bool)? {
        // The name, in parentheses, may hold anything, spaces and parentheses too.
        guard let end = contents(of: "/proc/\(pid)/stat").split(separator: ")").last else { return nil }
        let fields = end.split(separator: " ")
        guard fields.count > 19, let started = UInt64(fields[19]) else { return nil }
        return (started, ["Z", "X"].contains(fields[0]))
    }

    private static func contents(of path: String) -> String {
        (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
    }
}

/// Who runs a command, and from where.
package struct Caller: Hashable, Sendable, Codable {
    package var user: String
    package var host: String
    /// The address that an SSH login came from; nil: none, or not told.
    package var origin: String?
    package var process: ProcessIdentity

    package init(user: String, host: String, origin: String? = nil, process: ProcessIdentity) {
        self.user = user
        self.host = host
        self.origin = origin
        self.process = process
    }

    package static func current(environment: [String: String]) -> Caller {
        var name = Array(repeating: CChar(0), count: 257)
        let host =
            gethostname(&name, name.count - 1) == 0 ? String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self) : ""
        let own = userName(of: geteuid())
        let behind = geteuid() == 0 ? environment["SUDO_USER"] ?? "" : ""
        return Caller(
            user: behind.isEmpty || behind == own ? own : "\(behind) (as \(own))",
            host: host.isEmpty ? "unknown host" : host,
            origin: environment["SSH_CONNECTION"]?.split(separator: " ").first.map(String.init),
            process: .current
        )
    }

    /// `alice@laptop (pid 4711)`.
    package var description: String { "\(user)@\(host) (pid \(process.pid))" }
}
