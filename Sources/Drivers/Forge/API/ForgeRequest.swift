package import Values

/// One request to a forge's API, as a value. Nothing in it is secret: the token is added where it is sent.
package struct ForgeRequest: Hashable, Sendable {
    package enum Method: String, Hashable, Sendable {
        case get = "GET"
        case post = "POST"
        case put = "PUT"
        case patch = "PATCH"
        case delete = "DELETE"
    }

    /// As whom it is sent.
    enum Login: Hashable, Sendable {
        /// The token, or the installation of a GitHub App.
        case token
        /// The GitHub App itself, by its key.
        case app
    }

    package var method: Method
    /// Below the API's root, percent-encoded: `/repos/owner/name`.
    package var path: String
    /// Percent-encoded, without the `?`; empty: none.
    package var query: String
    package var body: Value?
    /// Doing it twice is doing it once.
    var isRepeatable: Bool
    var login: Login

    init(
        _ method: Method,
        _ path: String,
        query: [(String, String)] = [],
        body: Value? = nil,
        isRepeatable: Bool? = nil,
        login: Login = .token
    ) {
        self.method = method
        self.path = path
        self.query = query.map { "\($0.0)=\(Self.encoded($0.1))" }.joined(separator: "&")
        self.body = body
        self.isRepeatable = isRepeatable ?? (method != .post)
        self.login = login
    }

    var target: String { query.isEmpty ? path : "\(path)?\(query)" }

    /// One segment of a path, or one value of a query: everything but RFC 3986's unreserved characters is encoded.
    static func encoded(_ text: String) -> String {
        var result = ""
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E: result.unicodeScalars.append(Unicode.Scalar(byte))
            default: result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
        return result
    }
}

/// What came back.
package struct ForgeAnswer: Hashable, Sendable {
    package var status: Int
    /// Those that count, their names in small letters.
    package var headers: [String: String]
    /// null where the body is empty; nil where it is no JSON.
    package var body: Value?

    package init(status: Int, headers: [String: String] = [:], body: Value? = .null) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// All others are dropped.
    static let knownHeaders: Set<String> = [
        "link", "ratelimit-remaining", "ratelimit-reset", "retry-after", "x-next-page", "x-ratelimit-remaining", "x-ratelimit-reset",
    ]

    /// The query of the next page; nil: this was the last one.
    ///
    /// Only the query is taken of a link: a forge behind a proxy may not know what it is called outside, and nobody's answer decides whom we ask.
    var nextQuery: String? {
        for link in (headers["link"] ?? "").split(separator: ",") {
            let parts = link.split(separator: ";").map { $0.drop { $0 == " " } }
            guard parts.dropFirst().contains(where: { $0.hasPrefix("rel=\"next\"") || $0 == "rel=next" }) else { continue }
            let address = parts[0].prefix { $0 != ">" && $0 != "#" }
            guard let mark = address.firstIndex(of: "?") else { return nil }
            let query = address[address.index(after: mark)...]
            let isPlain = query.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
            return query.isEmpty || query.utf8.count > 2048 || !isPlain ? nil : String(query)
        }
        return nil
    }

    /// GitLab's, where a proxy has dropped the links.
    var nextPage: Int? { headers["x-next-page"].flatMap { Int($0) } }
}
