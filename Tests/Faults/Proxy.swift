import Foundation
import Values

/// The proxy before the lab's API server, and the server itself, past it.
final class Proxy {
    let folder: String
    let token = "token-canary-\(UUID().uuidString)"
    private let lab: String
    private let process: Child
    private var number = 0

    var kubeconfig: String { "\(folder)/kubeconfig" }

    init(folder: String, lab: String) throws {
        self.folder = folder
        self.lab = lab
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        for (file, name) in [("ca.pem", "ca.pem"), ("home.pem", "client.pem"), ("home.key", "client.key")] {
            try FileManager.default.copyItem(atPath: "\(lab)/api-server/\(file)", toPath: "\(folder)/\(name)")
        }
        try Data(token.utf8).write(to: URL(fileURLWithPath: "\(folder)/token"))
        let certificate = try Child([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=proxy",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "\(folder)/own.key", "-out", "\(folder)/own.pem",
        ]).end()
        guard certificate.status == 0 else { throw LabFailure(description: "no certificate: \(certificate.said)") }
        let program = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("api-proxy").path
        process = try Child([program, folder, "127.0.0.1:6443"])
        let process = process
        guard process.waits(limit: 20, for: { FileManager.default.fileExists(atPath: "\(folder)/port") }) else {
            throw LabFailure(description: "the proxy does not start: \(process.errors)")
        }
        let port = try String(contentsOfFile: "\(folder)/port", encoding: .utf8)
        let text = """
            apiVersion: v1
            kind: Config
            current-context: home
            clusters: [{name: home, cluster: {server: "https://127.0.0.1:\(port)", certificate-authority: \(folder)/own.pem}}]
            users: [{name: home, user: {token: \(token)}}]
            contexts: [{name: home, context: {cluster: home, user: home}}]

            """
        try Data(text.utf8).write(to: URL(fileURLWithPath: kubeconfig))
    }

    func set(_ fault: String, at place: String, times: Int) throws {
        number += 1
        try Data("\(number) \(fault) \(place) \(times)".utf8).write(to: URL(fileURLWithPath: "\(folder)/fault"), options: .atomic)
    }

    func end() {
        process.signal(SIGKILL)
        _ = process.end()
    }

    // MARK: The server itself

    static let namespace = "/api/v1/namespaces/faults-server"

    func request(_ path: String) throws -> String { try start(path).end().output }

    private func start(_ path: String) throws -> Child {
        let own = "\(lab)/api-server"
        let command = ["curl", "--silent", "--cacert", "\(own)/ca.pem", "--cert", "\(own)/home.pem", "--key", "\(own)/home.key"]
        return try Child(command + ["--max-time", "20", "https://127.0.0.1:6443\(path)"])
    }

    func round(of name: String) throws -> String? {
        try Value(json: request("\(Self.namespace)/configmaps/\(name)").utf8)["data"]?["round"]?.stringValue
    }

    func version() throws -> String {
        let list = try Value(json: request("\(Self.namespace)/configmaps?limit=1").utf8)
        guard let version = list["metadata"]?["resourceVersion"]?.stringValue else { throw LabFailure(description: "no list: \(list)") }
        return version
    }

    /// How often each ConfigMap and Secret was changed, as a watch tells it.
    func changes(since version: String) throws -> [String: Int] {
        var counts: [String: Int] = [:]
        let watches = try ["configmaps", "secrets"].map { kind in
            try start("\(Self.namespace)/\(kind)?watch=1&resourceVersion=\(version)&timeoutSeconds=1")
        }
        for watch in watches {
            for line in watch.end().output.split(separator: "\n") {
                let event = try Value(json: line.utf8)
                counts[event["object"]?["metadata"]?["name"]?.stringValue ?? "\(event)", default: 0] += 1
            }
        }
        return counts
    }
}
