import Foundation
import KubernetesAPI
import Testing
import Values

@testable import Kubernetes

/// Which server, as whom: from files, variables and a pod's folder.
struct KubeconfigTests {
    /// A folder with files, gone with the test.
    private func withFiles<Result>(_ files: [String: String], _ body: (String) throws -> Result) throws -> Result {
        let folder = "\(NSTemporaryDirectory())plumb-kube-\(UInt32.random(in: 0...UInt32.max))"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for (name, text) in files {
            let url = URL(fileURLWithPath: "\(folder)/\(name)")
            try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try text.write(to: url, atomically: true, encoding: .utf8)
        }
        return try body(folder)
    }

    private func find(
        _ login: ClusterLogin,
        _ environment: [String: String] = [:],
        serviceAccount: String = "/nowhere"
    ) -> Result<ServerAccess, APIFailure> {
        do throws(APIFailure) {
            return .success(try ServerAccess.find(login, environment: environment, serviceAccount: serviceAccount))
        } catch {
            return .failure(error)
        }
    }

    private func message(_ result: Result<ServerAccess, APIFailure>, without folder: String) -> String {
        guard case .failure(let failure) = result else { return "no failure" }
        return failure.message.replacing("\(folder)/", with: "")
    }

    private static let plain = """
        clusters: [{name: c, cluster: {server: "https://10.0.0.1:6443"}}]
        users: [{name: u, user: {token: abc}}]
        contexts: [{name: home, context: {cluster: c, user: u, namespace: x}}]
        """

    struct Mistake: Sendable, CustomTestStringConvertible {
        var said: String
        var text: String
        var testDescription: String { said }
    }

    static let mistakes = [
        Mistake(said: "config:1:1: this is no kubeconfig: a mapping is expected", text: "- a"),
        Mistake(said: "config:1:11: 'clusters' must be a list", text: "clusters: x"),
        Mistake(said: "config:2:3: an entry of 'clusters' has no name", text: "clusters:\n- cluster: {server: x}"),
        Mistake(said: "config:2:3: an entry of 'clusters' must be a mapping", text: "clusters:\n- x"),
        Mistake(said: "there is no context 'home' in config; there are: away", text: "contexts: [{name: away, context: {cluster: c}}]"),
        Mistake(said: "there is no context 'home' in config", text: "apiVersion: v1\nkind: Config\n"),
        Mistake(said: "config:1:36: context 'home' names no cluster", text: "contexts: [{name: home, context: { user: u}}]"),
        Mistake(
            said: "config:2:44: there is no cluster 'x'; there are: c",
            text: "clusters: [{name: c, cluster: {}}]\ncontexts: [{name: home, context: {cluster: x}}]"
        ),
        Mistake(
            said: "config:2:53: there is no user 'x'",
            text: "clusters: [{name: c, cluster: {}}]\ncontexts: [{name: home, context: {cluster: c, user: x}}]"
        ),
        Mistake(said: "config:1:31: cluster 'c' has no server", text: cluster("{}")),
        Mistake(
            said: "config:1:40: server 'localhost:8080' is no address. It looks like https://10.0.0.1:6443.",
            text: cluster("{server: localhost:8080}")
        ),
        Mistake(
            said: "config:1:63: 'proxy-url' is not supported yet. Name a server address that can be reached without a proxy.",
            text: cluster("{server: https://10.0.0.1, proxy-url: socks5://x}")
        ),
        Mistake(
            said: "config:1:88: this is no Base64",
            text: cluster("{server: https://10.0.0.1,            certificate-authority-data: '*'}")
        ),
        Mistake(
            said: "config:1:80: missing.pem can't be read: there is no such file",
            text: cluster("{server: https://10.0.0.1,         certificate-authority: missing.pem}")
        ),
        Mistake(
            said: "config:1:85: the certificate authority is no certificate in PEM form",
            text: cluster("{server: https://10.0.0.1,         certificate-authority-data: aGVsbG8=}")
        ),
        Mistake(
            said: "config:1:75: 'insecure-skip-tls-verify' must be true or false",
            text: cluster("{server: https://10.0.0.1, insecure-skip-tls-verify: maybe}")
        ),
        Mistake(
            said: "config:1:31: 'insecure-skip-tls-verify' stands beside a certificate authority, which it would make useless. Keep one of the two.",
            text: cluster("{server: https://10.0.0.1, insecure-skip-tls-verify: true, certificate-authority-data: aGVsbG8=}")
        ),
        Mistake(
            said: "config:2:32: 'exec' plugins are not supported yet. Use a token: kubectl create token SERVICE-ACCOUNT.",
            text: user("{exec: {command: aws}}")
        ),
        Mistake(
            said: "config:2:41: 'auth-provider' plugins are not supported yet. Use a token: kubectl create token SERVICE-ACCOUNT.",
            text: user("{auth-provider: {name: gcp}}")
        ),
        Mistake(
            said: "config:2:36: user name and password are not supported; API servers dropped them in 1.19. Use a token or a client certificate.",
            text: user("{username: admin, password: x}")
        ),
        Mistake(
            said: "config:2:33: 'token' holds characters that no token has. Look for a line break or a space.",
            text: user("{token: \"a b\"}")
        ),
        Mistake(
            said: "config:2:50: there is a client certificate and no client key",
            text: user("{client-certificate-data: aGVsbG8=}")
        ),
        Mistake(
            said: "config:2:1: this is no YAML: did not find expected node content. This happened while parsing a flow node that began in line 2.",
            text: "clusters: [{name: c, cluster: {"
        ),
    ]

    private static func cluster(_ body: String) -> String {
        "clusters: [{name: c, cluster: \(body)}]\nusers: [{name: u, user: {token: t}}]\ncontexts: [{name: home, context: {cluster: c, user: u}}]"
    }

    private static func user(_ body: String) -> String {
        """
        clusters: [{name: c, cluster: {server: https://10.0.0.1}}]
        users: [{name: u, user: \(body)}]
        contexts: [{name: home, context: {cluster: c, user: u}}]
        """
    }

    @Test(arguments: Self.mistakes)
    func mistakesAreNamedWithTheirPlace(mistake: Mistake) throws {
        try withFiles(["config": mistake.text]) { folder in
            let found = find(ClusterLogin(kubeconfig: "\(folder)/config", context: "home"))
            let said = message(found, without: folder)
            // The table's columns are in lines that are put together; where they are exact is tried below.
            #expect(Self.withoutColumn(said) == Self.withoutColumn(mistake.said))
        }
    }

    private static func withoutColumn(_ text: String) -> String {
        let parts = text.split(separator: ":", maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 4, Int(parts[1]) != nil, Int(parts[2]) != nil else { return text }
        return "\(parts[0]):\(parts[1]):\(parts[3])"
    }

    @Test func columnsAreRight() throws {
        try withFiles(["config": "users:\n- name: u\n  user:\n    token: [x]\n"]) { folder in
            let found = find(ClusterLogin(kubeconfig: "\(folder)/config", context: "home"))
            #expect(message(found, without: folder) == "config:4:12: 'token' must be a text")
        }
    }

    @Test func aContextIsTakenFromWhereItIsSaid() throws {
        try withFiles(["config": Self.plain]) { folder in
            let access = try find(ClusterLogin(kubeconfig: "\(folder)/config", context: "home")).get()
            #expect(access.url == "https://10.0.0.1:6443")
            guard case .fixed("abc") = access.token else {
                Issue.record("no token")
                return
            }
            #expect(access.origin == "user 'u', context 'home' of \(folder)/config")
            #expect(access.notes == [])
        }
    }

    @Test func theFirstFileWinsEntryByEntry() throws {
        let first = """
            current-context: other
            clusters: [{name: c, cluster: {server: "https://first"}}]
            users: [{name: u, user: {token: first}}]
            """
        let second = """
            clusters: [{name: c, cluster: {server: "https://second", tls-server-name: x}}, {name: d, cluster: {server: "https://d"}}]
            users: [{name: u, user: {tokenFile: /second}}]
            contexts: [{name: home, context: {cluster: c, user: u}}, {name: more, context: {cluster: d, user: u}}]
            """
        try withFiles(["a": first, "b": second]) { folder in
            let environment = ["KUBECONFIG": "\(folder)/missing:\(folder)/a:\(folder)/b"]
            let access = try find(ClusterLogin(context: "home"), environment).get()
            #expect(access.url == "https://first")
            guard case .fixed("first") = access.token else {
                Issue.record("the second file's entry was mixed in")
                return
            }
            #expect(try find(ClusterLogin(context: "more"), environment).get().url == "https://d")
            let unknown = find(ClusterLogin(context: "none"), environment)
            #expect(message(unknown, without: folder) == "there is no context 'none' in a, b; there are: home, more")
            // A file that is named by hand is the only one.
            #expect(
                message(find(ClusterLogin(kubeconfig: "\(folder)/a", context: "home"), environment), without: folder).contains("no context 'home'")
            )
        }
    }

    @Test func pathsAreRelativeToTheirFile() throws {
        let certificates = try Certificates()
        let text = """
            clusters: [{name: c, cluster: {server: "https://h:1/prefix/", certificate-authority: pki/ca.pem}}]
            users: [{name: u, user: {client-certificate: pki/client.pem, client-key: ../key, tokenFile: t}}]
            contexts: [{name: home, context: {cluster: c, user: u}}]
            """
        let files = [
            "sub/config": text, "sub/pki/ca.pem": try String(contentsOfFile: certificates.path("ca.pem"), encoding: .utf8),
            "sub/pki/client.pem": try String(contentsOfFile: certificates.path("client.pem"), encoding: .utf8),
            "key": try String(contentsOfFile: certificates.path("client.key"), encoding: .utf8),
        ]
        try withFiles(files) { folder in
            let access = try find(ClusterLogin(kubeconfig: "\(folder)/sub/config", context: "home")).get()
            #expect(access.url == "https://h:1/prefix")
            #expect(access.trustRoots?.count == 1)
            #expect(access.clientCertificates.count == 1)
            guard case .file(let path) = access.token else {
                Issue.record("no token file")
                return
            }
            #expect(path == "\(folder)/sub/t")
        }
    }

    @Test func settingsThatAreRiskyAreNoted() throws {
        let text = """
            clusters:
            - {name: a, cluster: {server: "https://10.0.0.1", insecure-skip-tls-verify: true}}
            - {name: b, cluster: {server: "http://10.0.0.1"}}
            - {name: l, cluster: {server: "http://127.0.0.1:8001"}}
            users: [{name: u, user: {token: t}}]
            contexts:
            - {name: a, context: {cluster: a, user: u}}
            - {name: b, context: {cluster: b, user: u}}
            - {name: l, context: {cluster: l, user: u}}
            """
        try withFiles(["config": text]) { folder in
            func notes(_ context: String) throws -> [String] {
                try find(ClusterLogin(kubeconfig: "\(folder)/config", context: context)).get().notes
            }
            let (unchecked, plain, local) = (try notes("a"), try notes("b"), try notes("l"))
            #expect(unchecked.first?.contains("insecure-skip-tls-verify: anyone on the way to https://10.0.0.1 can pose as this server") == true)
            #expect(plain == ["http://10.0.0.1: the token is sent over plain HTTP, so that anyone on the way can read it"])
            #expect(local == [])
        }
    }

    @Test func tlsServerNameKeepsWhereToConnect() throws {
        let text = """
            clusters: [{name: c, cluster: {server: "https://[fd00::1]:6443", tls-server-name: kubernetes}}]
            contexts: [{name: home, context: {cluster: c}}]
            """
        try withFiles(["config": text]) { folder in
            let access = try find(ClusterLogin(kubeconfig: "\(folder)/config", context: "home")).get()
            #expect(access.url == "https://kubernetes:6443")
            #expect(access.connectHost == "fd00::1")
            #expect(access.endpoint == "[fd00::1]:6443")
        }
    }

    @Test func aPodUsesItsServiceAccount() throws {
        let certificates = try Certificates()
        let authority = try String(contentsOfFile: certificates.path("ca.pem"), encoding: .utf8)
        try withFiles(["token": "t\n", "ca.crt": authority, "config": Self.plain]) { folder in
            let pod = ["KUBERNETES_SERVICE_HOST": "fd00::10", "KUBERNETES_SERVICE_PORT": "443"]
            let access = try find(ClusterLogin(), pod, serviceAccount: folder).get()
            #expect(access.url == "https://[fd00::10]:443")
            #expect(access.trustRoots?.count == 1)
            #expect(access.origin == "the pod's service account (\(folder))")
            // A context that is named goes before it.
            let named = find(ClusterLogin(kubeconfig: "\(folder)/config", context: "home"), pod, serviceAccount: folder)
            #expect(try named.get().url == "https://10.0.0.1:6443")
            // Outside of a pod nothing is guessed.
            let nothing = find(ClusterLogin(kubeconfig: "\(folder)/config"), [:], serviceAccount: folder)
            #expect(message(nothing, without: folder).hasPrefix("no kubeconfig context is named, and this is no pod. Set 'context' in the Cluster"))
            #expect(message(nothing, without: folder).hasSuffix("; there are: home"))
        }
    }

    @Test func missingFilesAreNamed() throws {
        try withFiles(["x": ""]) { folder in
            #expect(message(find(ClusterLogin(kubeconfig: "/no/such", context: "home")), without: folder) == "there is no file /no/such")
            let home = find(ClusterLogin(context: "home"), ["HOME": folder])
            #expect(message(home, without: folder).hasPrefix("there is no kubeconfig: KUBECONFIG is not set, and .kube/config can't be found"))
            #expect(message(find(ClusterLogin(kubeconfig: folder, context: "home")), without: "-") == "\(folder) can't be read: it is a folder")
            let named = find(ClusterLogin(context: "home"), ["KUBECONFIG": "/no/a:/no/b"])
            #expect(
                message(named, without: folder)
                    == "KUBECONFIG names no file that is there, and /no/a, /no/b can't be found. Give one with --kubeconfig"
            )
        }
    }
}

/// When a request is sent again; pure.
struct RetryPolicyTests {
    private let policy = RetryPolicy()

    @Test func delaysGrowAndEnd() {
        let delays = (1...7).map { policy.delay(after: .overloaded(requested: nil), attempt: $0, isRepeatable: true, chance: 0) }
        #expect(delays == [.milliseconds(200), .milliseconds(400), .milliseconds(800), .milliseconds(1600), .milliseconds(3200), nil, nil])
        let spread = policy.delay(after: .notSent, attempt: 1, isRepeatable: false, chance: 1)
        #expect(spread == .milliseconds(250))
    }

    @Test func whatIsAskedForIsKeptAndCapped() {
        func delay(_ requested: Duration) -> Duration? {
            policy.delay(after: .overloaded(requested: requested), attempt: 1, isRepeatable: false, chance: 0)
        }
        #expect(delay(.seconds(3)) == .seconds(3))
        #expect(delay(.seconds(3000)) == .seconds(30))
        #expect(policy.delay(after: .overloaded(requested: nil), attempt: 1, isRepeatable: false, chance: 0) == nil)
        #expect(policy.delay(after: .lost, attempt: 1, isRepeatable: false, chance: 0) == nil)
        #expect(policy.delay(after: .lost, attempt: 1, isRepeatable: true, chance: 0) != nil)
    }

    @Test func retryAfterIsSecondsOrADate() {
        let now = Date(timeIntervalSince1970: 1_445_412_480)
        #expect(RetryPolicy.requestedDelay("7", now: now) == .seconds(7))
        #expect(RetryPolicy.requestedDelay("Wed, 21 Oct 2015 07:28:30 GMT", now: now) == .seconds(30))
        #expect(RetryPolicy.requestedDelay("Wed, 21 Oct 2015 07:27:00 GMT", now: now) == .zero)
        #expect(RetryPolicy.requestedDelay("-3", now: now) == .zero)
        #expect(RetryPolicy.requestedDelay("soon", now: now) == nil)
        #expect(RetryPolicy.requestedDelay(nil, now: now) == nil)
    }
}
