import Foundation

/// Where a forge's API is.
package struct ForgeEndpoint: Hashable, Sendable {
    let isTLS: Bool
    let host: String
    let port: Int
    /// Without a slash at its end: `/api/v4`.
    let root: String

    /// - Parameter url: what a person opens in a browser, or the API's own; nil: the service's public one.
    /// - Throws: where it is none, or would carry the token in the clear.
    package init(_ service: ForgeService, url: String? = nil) throws(ForgeFailure) {
        let text = url ?? Self.publicURL(service)
        let shown = text?.printable(limit: 200)
        guard let text, let shown else {
            throw ForgeFailure(.invalid, "\(service.name) has no public address", fix: "Say where yours is: 'https://forge.example'.")
        }
        guard let parts = URLComponents(string: text), let scheme = parts.scheme?.lowercased(), ["https", "http"].contains(scheme),
            let host = parts.host?.lowercased(), !host.isEmpty, parts.query == nil, parts.fragment == nil
        else { throw ForgeFailure(.invalid, "'\(shown)' is no address of a forge", fix: "Write it like 'https://forge.example'.") }
        guard parts.user == nil, parts.password == nil else {
            throw ForgeFailure(.invalid, "the forge's address has a login in it", fix: "Give the token in a file or in the environment instead.")
        }
        isTLS = scheme == "https"
        guard isTLS || Self.isLoopback(host) else {
            throw ForgeFailure(.invalid, "\(shown) would carry the token in the clear", fix: "Write https:// (http:// counts on loopback only).")
        }
        var path = parts.percentEncodedPath
        while path.last == "/" { path.removeLast() }
        if service == .github, host == "github.com" || host == "api.github.com" {
            (self.host, root) = ("api.github.com", "")
        } else {
            let suffix =
                switch service {
                case .github: "/api/v3"
                case .gitlab: "/api/v4"
                case .gitea, .forgejo: "/api/v1"
                }
            self.host = host
            root = path.hasSuffix(suffix) ? path : path + suffix
        }
        port = parts.port ?? (isTLS ? 443 : 80)
    }

    private static func publicURL(_ service: ForgeService) -> String? {
        switch service {
        case .github: "https://api.github.com"
        case .gitlab: "https://gitlab.com"
        case .gitea, .forgejo: nil
        }
    }

    private static func isLoopback(_ host: String) -> Bool {
        host == "localhost" || host == "::1" || host == "[::1]"
            || (host.hasPrefix("127.") && host.split(separator: ".").count == 4 && host.allSatisfy { $0.isNumber || $0 == "." })
    }

    /// `https://forge.example:3000`
    var origin: String {
        let name = host.contains(":") && !host.hasPrefix("[") ? "[\(host)]" : host
        return "\(isTLS ? "https" : "http")://\(name)\(port == (isTLS ? 443 : 80) ? "" : ":\(port)")"
    }

    /// The target of a redirect, where it is on the same host; nil: elsewhere, and our token stays here.
    func target(ofRedirect location: String, from target: String) -> String? {
        guard let base = URL(string: origin + target), let url = URL(string: location, relativeTo: base)?.absoluteURL,
            let parts = URLComponents(url: url, resolvingAgainstBaseURL: true), let otherHost = parts.host?.lowercased(), parts.user == nil
        else { return nil }
        let usesTLS = parts.scheme?.lowercased() == "https"
        guard usesTLS == isTLS, otherHost == host, (parts.port ?? (usesTLS ? 443 : 80)) == port else { return nil }
        let path = parts.percentEncodedPath
        return (path.isEmpty ? "/" : path) + (parts.percentEncodedQuery.map { "?\($0)" } ?? "")
    }
}
