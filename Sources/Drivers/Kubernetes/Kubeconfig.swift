import KubernetesAPI
import YAML

/// What a kubeconfig file, or several merged, say. Keys that are not known are passed over, as kubectl does.
struct Kubeconfig: Sendable {
    struct Cluster: Sendable {
        var server: Text?
        var certificateAuthority: Text?
        var certificateAuthorityData: Text?
        var tlsServerName: Text?
        var skipsVerification: Bool
        var proxyURL: Text?
        var position: SourcePosition
    }

    struct User: Sendable {
        var token: Text?
        var tokenFile: Text?
        var clientCertificate: Text?
        var clientCertificateData: Text?
        var clientKey: Text?
        var clientKeyData: Text?
        var username: Text?
        /// Where an `exec` or `auth-provider` plugin is set up.
        var plugin: (name: String, position: SourcePosition)?
        var position: SourcePosition
    }

    struct Context: Sendable {
        var cluster: Text?
        var user: Text?
        var position: SourcePosition
    }

    /// A text with the place where it stands. Never printed as a whole: tokens and keys are among them.
    struct Text: Sendable {
        var value: String
        var position: SourcePosition
    }

    var clusters: [String: Cluster] = [:]
    var users: [String: User] = [:]
    var contexts: [String: Context] = [:]
    var files: [String] = []

    /// The file that is read first wins, entry by entry: what a later one says of a name that is known already is not looked at.
    mutating func merge(_ other: Kubeconfig) {
        clusters.merge(other.clusters) { first, _ in first }
        users.merge(other.users) { first, _ in first }
        contexts.merge(other.contexts) { first, _ in first }
        files += other.files
    }
}

extension Kubeconfig {
    /// Reads the text of one file.
    init(_ bytes: [UInt8], file: String) throws(APIFailure) {
        files = [file]
        let (documents, error) = parseYAML(bytes, file: file)
        if let error { throw Self.failure(error.message, at: error.position, fix: error.fix) }
        // An empty file is a kubeconfig that says nothing; kubectl writes such.
        guard let document = documents.first, document.scalar?.text != "" else { return }
        guard document.entries != nil else { throw Self.failure("this is no kubeconfig: a mapping is expected", at: document.position) }
        try Self.readNamed(document, list: "clusters", member: "cluster") { (name, node) throws(APIFailure) in
            guard clusters[name] == nil else { return }
            clusters[name] = try Cluster(
                server: Self.text(node, "server"),
                certificateAuthority: Self.text(node, "certificate-authority"),
                certificateAuthorityData: Self.text(node, "certificate-authority-data"),
                tlsServerName: Self.text(node, "tls-server-name"),
                skipsVerification: Self.bool(node, "insecure-skip-tls-verify"),
                proxyURL: Self.text(node, "proxy-url"),
                position: node.position
            )
        }
        try Self.readNamed(document, list: "users", member: "user") { (name, node) throws(APIFailure) in
            guard users[name] == nil else { return }
            let plugin = ["exec", "auth-provider"].lazy.compactMap { key in Self.member(node, key).map { (key, $0.position) } }.first
            users[name] = try User(
                token: Self.text(node, "token"),
                tokenFile: Self.text(node, "tokenFile"),
                clientCertificate: Self.text(node, "client-certificate"),
                clientCertificateData: Self.text(node, "client-certificate-data"),
                clientKey: Self.text(node, "client-key"),
                clientKeyData: Self.text(node, "client-key-data"),
                username: Self.text(node, "username"),
                plugin: plugin,
                position: node.position
            )
        }
        try Self.readNamed(document, list: "contexts", member: "context") { (name, node) throws(APIFailure) in
            guard contexts[name] == nil else { return }
            contexts[name] = try Context(cluster: Self.text(node, "cluster"), user: Self.text(node, "user"), position: node.position)
        }
    }

    private static func readNamed(
        _ document: YAMLNode,
        list: String,
        member: String,
        _ read: (String, YAMLNode) throws(APIFailure) -> Void
    ) throws(APIFailure) {
        guard let node = Self.member(document, list) else { return }
        guard let elements = node.elements else { throw failure("'\(list)' must be a list", at: node.position) }
        for element in elements {
            guard element.entries != nil else { throw failure("an entry of '\(list)' must be a mapping", at: element.position) }
            guard let name = try text(element, "name") else { throw failure("an entry of '\(list)' has no name", at: element.position) }
            let body = Self.member(element, member) ?? YAMLNode(.mapping([]), at: element.position)
            guard body.entries != nil else { throw failure("'\(member)' of '\(name.value)' must be a mapping", at: body.position) }
            try read(name.value, body)
        }
    }

    /// nil also where there is nothing behind the key.
    private static func member(_ node: YAMLNode, _ key: String) -> YAMLNode? {
        guard let value = node[key] else { return nil }
        if let scalar = value.scalar, scalar.isPlain, ["", "~", "null"].contains(scalar.text) { return nil }
        return value
    }

    private static func text(_ node: YAMLNode, _ key: String) throws(APIFailure) -> Text? {
        guard let value = member(node, key) else { return nil }
        guard let scalar = value.scalar else { throw failure("'\(key)' must be a text", at: value.position) }
        return scalar.text.isEmpty ? nil : Text(value: scalar.text, position: value.position)
    }

    private static func bool(_ node: YAMLNode, _ key: String) throws(APIFailure) -> Bool {
        guard let value = member(node, key) else { return false }
        guard let text = value.scalar?.text, let result = ["true": true, "false": false][text] else {
            throw failure("'\(key)' must be true or false", at: value.position)
        }
        return result
    }

    /// A mistake in the file. Its place comes first, as compilers and editors have it.
    static func failure(_ message: String, at position: SourcePosition, fix: String = "") -> APIFailure {
        APIFailure(.credentials, fix.isEmpty ? "\(position): \(message)" : "\(position): \(message). \(fix)")
    }
}
