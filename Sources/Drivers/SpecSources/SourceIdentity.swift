import Crypto
import Foundation
import Glibc

/// Where specs come from, told apart from all other specs that could be applied to the same cluster.
///
/// A checkout is what its `origin` is, with the folder in it, on every machine alike. All else is a path on one machine: other specs can
/// lie at the same path of another.
package struct SourceIdentity: Hashable, Sendable {
    /// Ten hexadecimal digits.
    package var id: String
    /// For people: `github.com/owner/repository, state`; no credentials in it.
    package var words: String

    package init(of path: String) {
        let real = Self.resolved(path)
        var name = [Self.hostName, real]
        words = "\(real) on \(name[0])"
        if let (root, config) = Self.repository(of: real), let origin = Self.origin(in: config).flatMap(Self.place(ofRemote:)) {
            let folder = String(real.dropFirst(root.count).drop { $0 == "/" })
            name = [origin, folder]
            words = folder.isEmpty ? origin : "\(origin), \(folder)"
        } else if let machine = try? String(contentsOfFile: "/etc/machine-id", encoding: .utf8), !machine.isEmpty {
            name[0] = machine
        }
        id = Self.id(name)
    }

    /// The same folder in a repository that is read without a checkout: it is what a checkout of that remote would be.
    ///
    /// - Parameters:
    ///   - remote: The URL; credentials in it are left out.
    ///   - path: The folder or file in the repository, without slashes at its ends; empty: all of it.
    package init(ofRemote remote: String, path: String) {
        let origin = Self.place(ofRemote: remote)
        // A repository on this machine is told apart from those at the same path of others.
        let machine = try? String(contentsOfFile: "/etc/machine-id", encoding: .utf8)
        id = Self.id(origin.map { [$0, path] } ?? [machine.flatMap { $0.isEmpty ? nil : $0 } ?? Self.hostName, remote, path])
        let place = origin ?? "\(remote) on \(Self.hostName)"
        words = path.isEmpty ? place : "\(place), \(path)"
    }

    private static func id(_ name: [String]) -> String {
        let digest = SHA256.hash(data: Data(name.joined(separator: "\n").utf8))
        return digest.prefix(5).map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
    }

    /// `github.com/owner/repository` of a remote's URL, however it is written; nil where it is a path of this machine.
    package static func place(ofRemote url: String) -> String? {
        var rest = Substring(url)
        if let scheme = rest.ranges(of: "://").first {
            if rest[..<scheme.lowerBound] == "file" { return nil }
            rest = rest[scheme.upperBound...]
        } else {
            // `user@host:path`, as scp has it; a slash before the colon makes it a path.
            guard let colon = rest.firstIndex(of: ":"), !rest[..<colon].contains("/") else { return nil }
            rest = rest[..<colon] + "/" + rest[rest.index(after: colon)...].drop { $0 == "/" }
        }
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        let authority = rest[..<slash]
        // Login, password and port say how to get there and not where it is.
        let host = authority[(authority.lastIndex(of: "@").map { authority.index(after: $0) } ?? authority.startIndex)...].prefix { $0 != ":" }
        var path = rest[slash...].prefix { $0 != "?" && $0 != "#" }
        while path.last == "/" { path = path.dropLast() }
        if path.hasSuffix(".git") { path = path.dropLast(4) }
        guard !host.isEmpty, path.count > 1 else { return nil }
        return host.lowercased() + path
    }

    /// The URL of the remote `origin` in git's configuration.
    static func origin(in config: String) -> String? {
        var isOrigin = false
        for line in config.split(whereSeparator: \.isNewline) {
            let text = line.trimmingCharacters(in: .whitespaces)
            if text.hasPrefix("[") {
                isOrigin = text.hasPrefix("[remote \"origin\"]")
            } else if isOrigin, let equals = text.firstIndex(of: "="), text[..<equals].trimmingCharacters(in: .whitespaces).lowercased() == "url" {
                return text[text.index(after: equals)...].trimmingCharacters(in: CharacterSet(charactersIn: " \t\""))
            }
        }
        return nil
    }

    /// The top of the checkout that a path is in, and its configuration.
    private static func repository(of path: String) -> (root: String, config: String)? {
        var folder = URL(fileURLWithPath: path)
        for _ in 0..<64 {
            let git = folder.appendingPathComponent(".git")
            if let config = read(git.appendingPathComponent("config")) { return (folder.path, config) }
            // A worktree or a submodule: a file that says where git's own folder is.
            if let text = read(git), text.hasPrefix("gitdir:") {
                let place = text.dropFirst(7).trimmingCharacters(in: .whitespacesAndNewlines)
                let own = URL(fileURLWithPath: place, relativeTo: folder)
                let common = read(own.appendingPathComponent("commondir"))?.trimmingCharacters(in: .whitespacesAndNewlines)
                let shared = common.map { URL(fileURLWithPath: $0, relativeTo: own.appendingPathComponent("x")) } ?? own
                return read(shared.appendingPathComponent("config")).map { (folder.path, $0) }
            }
            guard folder.path != "/" else { return nil }
            folder.deleteLastPathComponent()
        }
        return nil
    }

    private static func read(_ url: URL) -> String? {
        guard let data = FileManager.default.contents(atPath: url.path), data.count < 1 << 20 else { return nil }
        return String(decoding: data, as: UTF8.self)
    }

    private static func resolved(_ path: String) -> String {
        guard let real = realpath(path, nil) else { return path }
        defer { free(real) }
        return String(cString: real)
    }

    private static let hostName: String = {
        var name = [CChar](repeating: 0, count: 256)
        guard Glibc.gethostname(&name, name.count - 1) == 0 else { return "an unknown machine" }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }()
}
