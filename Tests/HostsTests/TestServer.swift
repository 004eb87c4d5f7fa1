import Foundation
import Hosts

/// A scratch folder that goes away with the last reference to it.
final class Scratch: Sendable {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-\(UUID().uuidString.prefix(8))").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o755])
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    @discardableResult
    func write(_ text: String, to name: String, mode: Int = 0o600) throws -> String {
        try text.write(toFile: file(name), atomically: false, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: file(name))
        return file(name)
    }

    func read(_ name: String) throws -> String { try String(contentsOfFile: file(name), encoding: .utf8) }

    func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: file(name)) }
}

enum Programs {
    struct Failed: Error {
        var text: String
    }

    /// Runs a program of this machine to its end.
    @discardableResult
    static func run(_ arguments: [String], input: String? = nil, environment: [String: String] = [:]) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let output = Pipe()
        process.standardOutput = output
        process.standardError = output
        let inputPipe = Pipe()
        process.standardInput = inputPipe
        try process.runUnblocked()
        inputPipe.fileHandleForWriting.write(Data((input ?? "").utf8))
        try inputPipe.fileHandleForWriting.close()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        if process.terminationStatus != 0 { throw Failed(text: "\(arguments.joined(separator: " ")): \(text)") }
        return text
    }

    static func makeKey(_ path: String, type: String = "ed25519", passphrase: String = "", format: [String] = []) throws {
        try run(["ssh-keygen", "-q", "-t", type, "-N", passphrase, "-C", "test", "-f", path] + format)
    }
}

extension Process {
    /// Starts it with no signal blocked. Threads of a pool block them all, a child inherits that, and then a shell waits for ever for its own children.
    fileprivate func runUnblocked() throws {
        var none = sigset_t()
        var before = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        try run()
    }
}

/// A program that ends when this process does, however it does: a shell waits on a pipe that only we hold and then kills it.
/// (`PR_SET_PDEATHSIG` would look at the thread that started it, and threads of a pool come and go.)
final class Daemon: @unchecked Sendable {
    // Foundation's Process is not Sendable; it is started in `init` and asked to end in `stop`, nothing else.
    private let process = Process()
    private let leash = Pipe()

    init(_ arguments: [String], log: String, environment: [String: String] = [:]) throws {
        _ = FileManager.default.createFile(atPath: log, contents: nil)
        let output = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", #""$@" & child=$!; read -r _; kill -9 "$child""#, "sh"] + arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = leash
        process.standardOutput = output
        process.standardError = output
        try process.runUnblocked()
    }

    func stop() {
        try? leash.fileHandleForWriting.close()
        process.waitUntilExit()
    }

    deinit { try? leash.fileHandleForWriting.close() }
}

/// A real sshd on a free port of the loopback, with keys and rules of its own; it lets in the user who runs the tests, which has to be root.
final class TestServer: Sendable {
    let scratch: Scratch
    let port: Int
    private let daemon: Daemon

    static let isPossible = getuid() == 0 && FileManager.default.isExecutableFile(atPath: "/usr/sbin/sshd")

    /// - Parameters:
    ///   - settings: Lines for sshd_config that come first, so they win.
    ///   - key: The name of the user's key, which is made and let in.
    init(_ settings: [String] = [], hostKeyTypes: [String] = ["ed25519"]) throws {
        scratch = try Scratch()
        try FileManager.default.createDirectory(atPath: "/run/sshd", withIntermediateDirectories: true)
        for type in hostKeyTypes { try Programs.makeKey(scratch.file("host_\(type)"), type: type) }
        try Programs.makeKey(scratch.file("id"))
        try scratch.write(try scratch.read("id.pub"), to: "authorized_keys")
        port = try Self.freePort()
        let scratch = scratch
        let config =
            settings + [
                "Port \(port)", "ListenAddress 127.0.0.1", "PidFile none", "StrictModes no", "UsePAM no", "PasswordAuthentication no",
                "KbdInteractiveAuthentication no", "PermitRootLogin yes", "LogLevel VERBOSE", "MaxStartups 200", "PrintMotd no",
                "AuthorizedKeysFile \(scratch.file("authorized_keys"))",
            ] + hostKeyTypes.map { [scratch] in "HostKey \(scratch.file("host_\($0)"))" }
        let path = try scratch.write(config.joined(separator: "\n") + "\n", to: "sshd_config")
        daemon = try Daemon(["/usr/sbin/sshd", "-D", "-e", "-f", path], log: scratch.file("log"))
        try awaitGreeting()
        try trust()
    }

    func stop() { daemon.stop() }

    var log: String { (try? scratch.read("log")) ?? "" }

    func hostKey(_ type: String = "ed25519") throws -> String {
        try scratch.read("host_\(type).pub").split(separator: " ").prefix(2).joined(separator: " ")
    }

    /// Writes a known_hosts file with the right keys.
    func trust(_ types: [String] = ["ed25519"]) throws {
        try scratch.write(try types.map { "[127.0.0.1]:\(port) \(try hostKey($0))\n" }.joined(), to: "known_hosts")
    }

    func login(_ name: String = "host", sudo: Bool = false, hostKeys: [String] = []) -> HostLogin {
        HostLogin(name: name, address: "127.0.0.1", port: port, user: NSUserName(), usesSudo: sudo, hostKeys: hostKeys)
    }

    var options: HostPoolOptions {
        var options = HostPoolOptions()
        options.identityFile = scratch.file("id")
        options.knownHostsFile = scratch.file("known_hosts")
        options.sshConfigFile = "/dev/null"
        return options
    }

    private struct NotUp: Error {
        var log: String
    }

    private func awaitGreeting() throws {
        for _ in 0..<500 {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(descriptor) }
            var address = Self.loopback(port)
            let size = socklen_t(MemoryLayout<sockaddr_in>.size)
            let status = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
            }
            if status == 0 { return }
            usleep(10_000)
        }
        throw NotUp(log: log)
    }

    static func loopback(_ port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        return address
    }

    /// A port that nobody listens on just now.
    static func freePort() throws -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = loopback(0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(descriptor, pointer, size) == 0 ? getsockname(descriptor, pointer, &size) : -1
            }
        }
        guard status == 0 else { throw NotUp(log: "no free port") }
        return Int(in_port_t(bigEndian: address.sin_port))
    }
}
