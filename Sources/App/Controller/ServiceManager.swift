@preconcurrency import Dispatch
import Foundation
import Glibc

/// Tells systemd how the service is (`Type=notify`), where it was started by systemd; elsewhere it does nothing.
package struct ServiceManager: Sendable {
    private let address: [UInt8]?
    /// How often `isAlive()` has to be called, half of what the unit allows (`WatchdogSec`); nil: nobody waits for it.
    package let watchdogInterval: Duration?

    /// - Parameter environment: of this process; its `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` count.
    package init(environment: [String: String] = ProcessInfo.processInfo.environment, pid: Int32 = getpid()) {
        let path = environment["NOTIFY_SOCKET"] ?? ""
        // A path, or `@` and a name that is in no file system. What is longer than an address can hold is none.
        let isUsable = (path.hasPrefix("/") || path.hasPrefix("@")) && path.utf8.count > 1 && path.utf8.count < Self.longestPath
        address = isUsable ? Array(path.utf8) : nil
        let isOurs = environment["WATCHDOG_PID"].map { $0 == String(pid) } ?? true
        let limit = environment["WATCHDOG_USEC"].flatMap(Int64.init) ?? 0
        watchdogInterval = isUsable && isOurs && limit > 0 ? .microseconds(limit / 2) : nil
    }

    /// What was to be loaded is loaded; also after `isReloading()`.
    package func isReady(_ status: String) { send("READY=1\nSTATUS=\(Self.line(status))") }

    package func isReloading() {
        // CLOCK_MONOTONIC, as systemd wants it. (A `timespec` has no members here when the whole module is optimised.)
        send("RELOADING=1\nMONOTONIC_USEC=\(DispatchTime.now().uptimeNanoseconds / 1000)")
    }

    package func isStopping() { send("STOPPING=1") }

    /// To be called where the work is done, so that a process that hangs is ended and started again.
    package func isAlive() { send("WATCHDOG=1") }

    /// What `systemctl status` shows, one line.
    package func tell(_ status: String) { send("STATUS=\(Self.line(status))") }

    // A status with a line feed would be another assignment.
    private static func line(_ text: String) -> String {
        String(text.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : Character($0) }.prefix(400))
    }

    private static let longestPath = MemoryLayout.size(ofValue: sockaddr_un().sun_path)

    /// Whether it got through is of no interest: the service is not worse for it.
    private func send(_ message: String) {
        guard var bytes = address else { return }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        if bytes[0] == UInt8(ascii: "@") { bytes[0] = 0 }
        var place = sockaddr_un()
        place.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &place.sun_path) { $0.copyBytes(from: bytes) }
        let length = socklen_t(MemoryLayout.offset(of: \sockaddr_un.sun_path) ?? 2) + socklen_t(bytes.count)
        let text = Array(message.utf8)
        withUnsafePointer(to: &place) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                _ = sendto(descriptor, text, text.count, Int32(MSG_NOSIGNAL), address, length)
            }
        }
    }
}
