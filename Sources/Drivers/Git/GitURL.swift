internal import Foundation
internal import SSH

/// A repository's URL, taken apart.
struct GitURL: Hashable, Sendable {
    enum Scheme: String, Sendable {
        case https
        case http
        case ssh
        case git
        case file

        /// Nobody on the way can read it or put something else in its place.
        var isProtected: Bool { self != .http && self != .git }
    }

    var scheme: Scheme
    var user: String?
    var password: String?
    /// Empty for `file`.
    var host: String
    var port: Int?
    /// As the server takes it: decoded for `ssh` and `file`, as it stands for the others.
    var path: String
    /// Without credentials, for messages, plans and the journal; written as it was given.
    var shown: String

    init(_ text: String) throws(GitFailure) {
        let shown = Self.redacted(text)
        func refuse(_ why: String, _ fix: String = "Git URLs are https://, ssh://, git@host:path and file://.") -> GitFailure {
            GitFailure(.invalid, "'\(shown)' \(why)", fix: fix)
        }
        guard text.utf8.count <= 4096, text.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value != 0x7f }) else {
            throw refuse("has spaces or control characters in it, or more than 4096 bytes", "Write spaces in a URL as %20.")
        }
        guard let mark = text.ranges(of: "://").first else {
            guard GitLocation.isURL(text), let colon = text.firstIndex(of: ":") else { throw refuse("is no git URL") }
            let (user, password, authority) = Self.split(text[..<colon])
            guard password == nil, Self.isSafe(authority), user.map(Self.isSafe) ?? true else { throw refuse("names no host that could be reached") }
            self.init(
                scheme: .ssh,
                user: user,
                password: nil,
                host: authority,
                port: nil,
                path: String(text[text.index(after: colon)...]),
                shown: shown
            )
            guard !path.isEmpty, !path.hasPrefix("-") else { throw refuse("names no repository") }
            return
        }
        let name = text[..<mark.lowerBound].lowercased()
        guard let scheme = Scheme(rawValue: ["git+ssh": "ssh", "ssh+git": "ssh"][name] ?? name) else {
            throw refuse("has a scheme that is not known")
        }
        let rest = text[mark.upperBound...]
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        let path = String(rest[slash...])
        if scheme == .file {
            guard rest[..<slash].isEmpty || rest[..<slash] == "localhost" else { throw refuse("names a host", "A file:// URL has three slashes.") }
            guard let decoded = path.removingPercentEncoding, path.count > 1 else { throw refuse("names no folder") }
            self.init(scheme: .file, user: nil, password: nil, host: "", port: nil, path: decoded, shown: shown)
            return
        }
        var (user, password, authority) = Self.split(rest[..<slash])
        var port: Int?
        if let colon = authority.lastIndex(of: ":"), !authority.hasSuffix("]") {
            guard let number = Int(authority[authority.index(after: colon)...]), (1...65_535).contains(number) else {
                throw refuse("has a port that is none")
            }
            port = number
            authority = String(authority[..<colon])
        }
        if authority.hasPrefix("["), authority.hasSuffix("]") { authority = String(authority.dropFirst().dropLast()) }
        guard Self.isSafe(authority), scheme != .ssh || user.map(Self.isSafe) ?? true else { throw refuse("names no host that could be reached") }
        guard path.count > 1 else { throw refuse("names no repository") }
        if scheme == .ssh {
            guard password == nil else { throw refuse("has a password in it, which ssh does not use", "Log in with a key.") }
            guard let decoded = path.removingPercentEncoding, decoded.unicodeScalars.allSatisfy({ $0.value >= 0x20 }) else {
                throw refuse("has a path that can't be decoded")
            }
            // As git has it: `ssh://host/~user/x` is in that user's home.
            self.init(
                scheme: scheme,
                user: user,
                password: nil,
                host: authority,
                port: port,
                path: decoded.hasPrefix("/~") ? String(decoded.dropFirst()) : decoded,
                shown: shown
            )
            return
        }
        guard !path.contains("?"), !path.contains("#") else { throw refuse("has a query or a fragment, which git does not know") }
        self.init(scheme: scheme, user: user, password: password, host: authority, port: port, path: path, shown: shown)
    }

    private init(scheme: Scheme, user: String?, password: String?, host: String, port: Int?, path: String, shown: String) {
        self.scheme = scheme
        self.user = user
        self.password = password
        self.host = host
        self.port = port
        self.path = path
        self.shown = shown
    }

    /// What libgit2 is given: no credentials, which it asks for when it needs them.
    var address: String {
        let host = host.contains(":") ? "[\(host)]" : host
        return "\(scheme.rawValue)://\(host)\(port.map { ":\($0)" } ?? "")\(path.hasPrefix("/") ? "" : "/")\(path)"
    }

    /// `git.example:8443`, for messages.
    var place: String { scheme == .file ? path : host + (port.map { ":\($0)" } ?? "") }

    /// A URL without what could be a secret in it, whether it can be read otherwise or not. The user stays only where it can't be a token: for ssh.
    static func redacted(_ text: String) -> String {
        guard let mark = text.ranges(of: "://").first else { return text }
        let scheme = text[..<mark.lowerBound].lowercased()
        if scheme == "file" { return text }
        let rest = text[mark.upperBound...]
        let authority = rest.prefix { $0 != "/" }
        let path = rest[authority.endIndex...].prefix { $0 != "?" && $0 != "#" }
        guard let at = authority.lastIndex(of: "@") else { return String(text[..<mark.upperBound] + authority + path) }
        let login = scheme.contains("ssh") ? authority[..<at].prefix { $0 != ":" } + "@" : ""
        return String(text[..<mark.upperBound] + login + authority[authority.index(after: at)...] + path)
    }

    private static func split(_ authority: Substring) -> (user: String?, password: String?, host: String) {
        guard let at = authority.lastIndex(of: "@") else { return (nil, nil, String(authority)) }
        let login = authority[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map { part in
            part.removingPercentEncoding ?? String(part)
        }
        let user = login.first.flatMap { $0.isEmpty ? nil : $0 }
        return (user, login.count > 1 ? login[1] : nil, String(authority[authority.index(after: at)...]))
    }

    /// A host or a login that no program takes for an option or more than a word.
    private static func isSafe(_ name: String) -> Bool {
        guard let first = name.unicodeScalars.first, first != "-", name.utf8.count <= 255 else { return false }
        return name.unicodeScalars.allSatisfy { scalar in
            scalar.isASCII && (scalar.properties.isAlphabetic || scalar.properties.numericType != nil || "._-:%+".unicodeScalars.contains(scalar))
        }
    }
}
