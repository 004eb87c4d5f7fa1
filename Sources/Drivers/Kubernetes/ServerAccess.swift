import Foundation
import KubernetesAPI
import NIOSSL
import YAML

/// Everything that is needed to talk to one API server as one user.
struct ServerAccess: Sendable {
    /// `https://10.0.0.1:6443/prefix`, without a slash at the end. The host is the name that the certificate must be for.
    var url: String
    /// The host as URLs have it: an IPv6 address in brackets.
    var host: String
    var port: Int
    var usesTLS: Bool
    /// Where to connect to, if that is another host than the one in `url` (`tls-server-name`).
    var connectHost: String?
    /// Who may sign the server's certificate; nil: whoever this machine trusts.
    var trustRoots: [NIOSSLCertificate]?
    var verifiesServer = true
    var clientCertificates: [NIOSSLCertificate] = []
    var clientKey: NIOSSLPrivateKey?
    var token: Token?
    /// Which settings these are, for errors: `user 'home', context 'home' of /root/.kube/config`.
    var origin: String
    var notes: [String] = []

    enum Token: Sendable {
        case fixed(String)
        /// Tokens of pods are renewed while they run.
        case file(String)
    }

    /// What the server is shown, in words.
    var credentials: String {
        switch token {
        case .fixed: "the token"
        case .file(let path): "the token in \(path)"
        case nil: clientCertificates.isEmpty ? "no credentials" : "the client certificate"
        }
    }
}

extension ServerAccess {
    /// Finds the settings as kubectl does, except that no context is ever chosen by a file.
    static func find(_ login: ClusterLogin, environment: [String: String], serviceAccount: String) throws(APIFailure) -> ServerAccess {
        let isInPod = environment["KUBERNETES_SERVICE_HOST"]?.isEmpty == false && FileManager.default.fileExists(atPath: "\(serviceAccount)/token")
        guard let context = login.context else {
            if isInPod { return try inPod(environment: environment, serviceAccount: serviceAccount) }
            let known = (try? Kubeconfig.load(login, environment: environment))?.contexts.keys.sorted() ?? []
            throw APIFailure(
                .credentials,
                "no kubeconfig context is named, and this is no pod. Set 'context' in the Cluster or give --context\(listed(known, "; there are: "))"
            )
        }
        let config = try Kubeconfig.load(login, environment: environment)
        return try from(config, context: context)
    }

    static func from(_ config: Kubeconfig, context name: String) throws(APIFailure) -> ServerAccess {
        let files = config.files.joined(separator: ", ")
        guard let context = config.contexts[name] else {
            throw APIFailure(.credentials, "there is no context '\(name)' in \(files)\(listed(config.contexts.keys.sorted(), "; there are: "))")
        }
        guard let clusterName = context.cluster else {
            throw Kubeconfig.failure("context '\(name)' names no cluster", at: context.position)
        }
        guard let cluster = config.clusters[clusterName.value] else {
            throw Kubeconfig.failure(
                "there is no cluster '\(clusterName.value)'\(listed(config.clusters.keys.sorted(), "; there are: "))",
                at: clusterName.position
            )
        }
        var user: Kubeconfig.User?
        if let userName = context.user {
            user = config.users[userName.value]
            guard user != nil else {
                throw Kubeconfig.failure(
                    "there is no user '\(userName.value)'\(listed(config.users.keys.sorted(), "; there are: "))",
                    at: userName.position
                )
            }
        }
        let origin = "\(context.user.map { "user '\($0.value)', " } ?? "")context '\(name)' of \(context.position.file)"
        var access = try server(cluster, named: clusterName.value, origin: origin)
        if let user { try access.add(user) }
        if !access.usesTLS, access.token != nil, !["localhost", "127.0.0.1", "[::1]"].contains(access.host) {
            access.notes.append("\(access.url): the token is sent over plain HTTP, so that anyone on the way can read it")
        }
        return access
    }

    private static func server(_ cluster: Kubeconfig.Cluster, named name: String, origin: String) throws(APIFailure) -> ServerAccess {
        guard let server = cluster.server else { throw Kubeconfig.failure("cluster '\(name)' has no server", at: cluster.position) }
        if let proxy = cluster.proxyURL {
            throw Kubeconfig.failure(
                "'proxy-url' is not supported yet",
                at: proxy.position,
                fix: "Name a server address that can be reached without a proxy."
            )
        }
        guard var access = ServerAccess(url: server.value, origin: origin) else {
            throw Kubeconfig.failure("server '\(server.value)' is no address", at: server.position, fix: "It looks like https://10.0.0.1:6443.")
        }
        if let other = cluster.tlsServerName, access.usesTLS {
            access.connectHost = access.bareHost
            access.url = access.url.replacingOccurrences(of: "://\(access.host)", with: "://\(other.value)")
            access.host = other.value
        }
        if cluster.skipsVerification {
            guard cluster.certificateAuthority == nil, cluster.certificateAuthorityData == nil else {
                throw Kubeconfig.failure(
                    "'insecure-skip-tls-verify' stands beside a certificate authority, which it would make useless",
                    at: cluster.position,
                    fix: "Keep one of the two."
                )
            }
            access.verifiesServer = false
            if access.usesTLS {
                access.notes.append(
                    "\(cluster.position): insecure-skip-tls-verify: anyone on the way to \(access.url) can pose as this server and take the credentials"
                )
            }
        } else if let (pem, place) = try Kubeconfig.pem(cluster.certificateAuthorityData, file: cluster.certificateAuthority) {
            access.trustRoots = try certificates(pem, "certificate authority", at: place)
        }
        return access
    }

    private mutating func add(_ user: Kubeconfig.User) throws(APIFailure) {
        if let file = user.tokenFile {
            token = .file(Kubeconfig.path(file))
        } else if let text = user.token {
            guard Self.isHeaderText(text.value) else {
                throw Kubeconfig.failure("'token' holds characters that no token has", at: text.position, fix: "Look for a line break or a space.")
            }
            token = .fixed(text.value)
        }
        if let (pem, place) = try Kubeconfig.pem(user.clientCertificateData, file: user.clientCertificate) {
            guard let (key, keyPlace) = try Kubeconfig.pem(user.clientKeyData, file: user.clientKey) else {
                throw Kubeconfig.failure("there is a client certificate and no client key", at: place)
            }
            clientCertificates = try Self.certificates(pem, "client certificate", at: place)
            do {
                clientKey = try NIOSSLPrivateKey(bytes: key, format: .pem)
            } catch {
                throw Kubeconfig.failure("the client key is no private key in PEM form, or has a passphrase", at: keyPlace)
            }
        }
        if token == nil, clientCertificates.isEmpty {
            if let plugin = user.plugin {
                throw Kubeconfig.failure(
                    "'\(plugin.name)' plugins are not supported yet",
                    at: plugin.position,
                    fix: "Use a token: kubectl create token SERVICE-ACCOUNT."
                )
            }
            if let name = user.username {
                throw Kubeconfig.failure(
                    "user name and password are not supported; API servers dropped them in 1.19",
                    at: name.position,
                    fix: "Use a token or a client certificate."
                )
            }
        }
    }

    /// The service account of the pod that this process is in.
    static func inPod(environment: [String: String], serviceAccount: String) throws(APIFailure) -> ServerAccess {
        let host = environment["KUBERNETES_SERVICE_HOST"] ?? ""
        let port = environment["KUBERNETES_SERVICE_PORT"] ?? "443"
        let bracketed = host.contains(":") ? "[\(host)]" : host
        guard var access = ServerAccess(url: "https://\(bracketed):\(port)", origin: "the pod's service account (\(serviceAccount))") else {
            throw APIFailure(.credentials, "KUBERNETES_SERVICE_HOST and _PORT are no address ('\(host)', '\(port)')")
        }
        access.token = .file("\(serviceAccount)/token")
        let authority = "\(serviceAccount)/ca.crt"
        let place = SourcePosition(file: authority, line: 1, column: 1)
        guard let data = FileManager.default.contents(atPath: authority) else {
            throw APIFailure(.credentials, "\(authority) can't be read: the server could not be told from an impostor")
        }
        access.trustRoots = try certificates(Array(data), "certificate authority", at: place)
        return access
    }

    init?(url text: String, origin: String) {
        guard let parts = URLComponents(string: text), let scheme = parts.scheme?.lowercased(), ["https", "http"].contains(scheme),
            let host = parts.host, !host.isEmpty, parts.user == nil, parts.query == nil, parts.fragment == nil
        else { return nil }
        usesTLS = scheme == "https"
        port = parts.port ?? (usesTLS ? 443 : 80)
        self.host = host.contains(":") && !host.hasPrefix("[") ? "[\(host)]" : host
        var path = parts.percentEncodedPath
        while path.hasSuffix("/") { path.removeLast() }
        url = "\(scheme)://\(self.host)\(parts.port.map { ":\($0)" } ?? "")\(path)"
        self.origin = origin
    }

    /// The host without the brackets of an IPv6 address.
    var bareHost: String { host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host }

    /// Where connections really go.
    var endpoint: String { "\(connectHost.map { $0.contains(":") ? "[\($0)]" : $0 } ?? host):\(port)" }

    private static func certificates(_ pem: [UInt8], _ what: String, at place: SourcePosition) throws(APIFailure) -> [NIOSSLCertificate] {
        let found = (try? NIOSSLCertificate.fromPEMBytes(pem)) ?? []
        guard !found.isEmpty else { throw Kubeconfig.failure("the \(what) is no certificate in PEM form", at: place) }
        return found
    }

    /// Line breaks in a header would be headers of their own.
    static func isHeaderText(_ text: String) -> Bool { text.utf8.allSatisfy { (0x21...0x7E).contains($0) } }

    private static func listed(_ names: [String], _ start: String) -> String {
        names.isEmpty ? "" : start + names.prefix(10).joined(separator: ", ") + (names.count > 10 ? ", …" : "")
    }
}
