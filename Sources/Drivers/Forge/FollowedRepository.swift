import Glibc
import SpecSources

/// The one repository that notices count for.
package struct FollowedRepository: Hashable, Sendable {
    private let url: String
    /// `host/owner/name`, in small letters; nil where it is a path of this machine.
    private let place: String?
    private let name: String?

    /// - Parameters:
    ///   - url: the source's, or a folder.
    ///   - name: how the forge calls it (`owner/name`, or a URL), where that is not to be seen from `url`.
    package init(url: String, name: String? = nil) {
        self.url = url
        place = SourceIdentity.place(ofRemote: url)?.lowercased()
        self.name = name.map(Self.normalized)
    }

    /// Whether a webhook is about it. One that names no repository is: our secret vouches for it.
    package func isMeant(by notice: PushNotice) -> Bool { isMeant(by: notice.repositories) }

    /// Whether a webhook about a pull request is about one that is to be merged into it.
    package func isMeant(by notice: PullRequestNotice) -> Bool { isMeant(by: notice.repositories) }

    private func isMeant(by repositories: [String]) -> Bool {
        if repositories.isEmpty { return true }
        let names = repositories.map { (place: SourceIdentity.place(ofRemote: $0)?.lowercased(), text: Self.normalized($0)) }
        if let name { return names.contains { $0.text == name || $0.text.hasSuffix("/\(name)") } }
        guard let place else { return false }
        if names.contains(where: { $0.place == place }) { return true }
        // Without a host anywhere, the path has to do.
        return names.allSatisfy { $0.place == nil } && names.contains { place == $0.text || place.hasSuffix("/\($0.text)") }
    }

    /// Whether a hook of this machine is about it.
    ///
    /// - Parameter path: of the repository, as the hook has it.
    package func isMeant(byHookIn path: String) -> Bool {
        let real = Self.resolved(path)
        if let name, Self.normalized(path) == name || Self.normalized(real) == name { return true }
        if let place {
            // Over the network, and yet on this machine: `git@localhost:specs.git` is below somebody's home.
            let remote = place[(place.firstIndex(of: "/") ?? place.endIndex)...]
            let local = Self.normalized(real)
            return remote.count > 1 && (local == remote.dropFirst() || local.hasSuffix(remote))
        }
        let own = Self.resolved(url.hasPrefix("file://") ? Self.path(ofFileURL: url) : url)
        return own == real || Self.isSameFile(own, real) || Self.isSameFile("\(own)/.git", real)
    }

    private static func path(ofFileURL url: String) -> String {
        let rest = url.dropFirst(7)
        return String(rest[(rest.firstIndex(of: "/") ?? rest.startIndex)...])
    }

    /// Without what changes nothing: case, `.git`, slashes at the ends.
    private static func normalized(_ text: String) -> String {
        var name = Substring(SourceIdentity.place(ofRemote: text) ?? text).lowercased()[...]
        while name.last == "/" { name = name.dropLast() }
        if name.hasSuffix(".git") { name = name.dropLast(4) }
        while name.last == "/" { name = name.dropLast() }
        return String(name.drop { $0 == "/" })
    }

    private static func resolved(_ path: String) -> String {
        guard let real = realpath(path, nil) else { return path }
        defer { free(real) }
        return String(cString: real)
    }

    private static func isSameFile(_ one: String, _ other: String) -> Bool {
        var (a, b) = (stat(), stat())
        return stat(one, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino
    }
}
