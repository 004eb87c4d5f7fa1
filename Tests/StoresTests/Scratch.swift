import Foundation
import Glibc
import Stores
import Testing
import Values

/// A folder of one test's own, gone when `body` ends.
func withScratch(_ body: (_ path: String) async throws -> Void) async throws {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("plumb-stores-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    defer { try? FileManager.default.removeItem(atPath: path) }
    try await body(path)
}

/// A small disk of one test's own, mounted where only this process tree sees it: tests run as root in a mount namespace (see Tests/run).
func withDisk(size: String, _ body: (_ path: String) async throws -> Void) async throws {
    try await withScratch { path in
        try command("mount", "-t", "tmpfs", "-o", "size=\(size),mode=0700", "tmpfs", path)
        do {
            try await body(path)
            try command("umount", "--lazy", path)
        } catch {
            try command("umount", "--lazy", path)
            throw error
        }
    }
}

func command(_ words: String...) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = words
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "\(words)")
}

/// An executable that was built with these tests.
func built(_ name: String) -> URL {
    let own = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
    for folder in [own, Bundle.main.bundleURL, Bundle.main.bundleURL.deletingLastPathComponent()] {
        let url = folder.appendingPathComponent(name)
        if FileManager.default.isExecutableFile(atPath: url.path) { return url }
    }
    return URL(fileURLWithPath: name)
}

func mode(of path: String) -> mode_t {
    var info = stat()
    return stat(path, &info) == 0 ? info.st_mode & 0o7777 : 0
}

let noon = Date(timeIntervalSince1970: 1_785_585_600)
let alice = Caller(user: "alice", host: "laptop", origin: "192.0.2.5", process: .current)

extension ActionStart {
    static func example(_ address: String = "pi-1/NetworkInterface/wlan0") -> ActionStart {
        ActionStart(
            address: address,
            kind: "NetworkInterface",
            operation: "update",
            fingerprint: "0f",
            fields: [Field(path: "flags.promiscuous", observed: false, desired: true), Field(path: "mtu", observed: nil, desired: 1500)],
            steps: ["ip link set dev wlan0 promisc on"]
        )
    }
}

extension RunStart {
    static let example = RunStart(command: "apply", source: "state", revision: "abc", planID: "0123", caller: alice, started: noon)
}

/// The failure that `body` ends with.
func failure(_ body: () async throws -> Void) async -> StoreFailure? {
    do {
        try await body()
        return nil
    } catch {
        return error as? StoreFailure
    }
}
