import Foundation
import Glibc
import KubernetesAPI
import Testing
import Values

@testable import Kubernetes

/// Processes that elect one of them at the lab's real API server, and what they keep there together.
@Suite(.serialized, .timeLimit(.minutes(3))) struct LeaderElectionLiveTests {
    struct NoLab: Error, CustomStringConvertible {
        var description: String { "this test needs the lab's API server: run it with Tests/run --filter LeaderElectionLiveTests" }
    }

    private let kubeconfig: String

    init() throws {
        guard ProcessInfo.processInfo.environment["LAB"] != nil, let kubeconfig = ProcessInfo.processInfo.environment["KUBECONFIG"] else {
            throw NoLab()
        }
        self.kubeconfig = kubeconfig
    }

    @Test func `One that is killed is followed, then one that is cut off, and never do two act`() async throws {
        try await withElection { namespace in
            let proxy = try Proxy(kubeconfig: kubeconfig)
            defer { proxy.end() }
            let killed = try Candidate("killed", kubeconfig, namespace)
            #expect(try await killed.waits { $0.acts })
            let cutOff = try Candidate("cut-off", proxy.kubeconfig, namespace)
            #expect(try await cutOff.waits { $0.said("following killed") })

            var begin = Candidate.clock
            kill(killed.pid, SIGKILL)
            #expect(try await cutOff.waits { $0.acts })
            print("leader killed: another acts after \(Candidate.clock - begin) ms")
            #expect(Candidate.clock - begin < 15_000)

            let last = try Candidate("last", kubeconfig, namespace)
            #expect(try await last.waits { $0.said("following cut-off") })
            begin = Candidate.clock
            proxy.cut()
            #expect(try await cutOff.waits { !$0.acts })
            print("leader cut off: it stops after \(Candidate.clock - begin) ms")
            #expect(try await last.waits { $0.acts })
            print("leader cut off: another acts after \(Candidate.clock - begin) ms")
            #expect(Candidate.clock - begin < 15_000)
            #expect(try await cutOff.waits { $0.said("lost Lease \(namespace)/election could not be renewed within 6 s") })
            proxy.mend()
            #expect(try await cutOff.waits { $0.said("following last") })

            begin = Candidate.clock
            last.end()
            #expect(try await cutOff.waits { $0.acts })
            print("leader ended in order: another acts after \(Candidate.clock - begin) ms")
            #expect(Candidate.clock - begin < 5000)
            let periods = (killed.periods + cutOff.periods + last.periods).sorted { $0.from < $1.from }
            #expect(periods.count >= 4)
            for (one, next) in zip(periods, periods.dropFirst()) { #expect(one.to <= next.from, "\(one) and \(next) overlap") }
        }
    }

    @Test func `What several replicas write at the same time is all there`() async throws {
        try await withElection { namespace in
            let connection = try ClusterConnection(ClusterLogin(kubeconfig: kubeconfig, context: "home"))
            let send: APISender = { (request) throws(APIFailure) in try await connection.send(request) }
            await withTaskGroup(of: Void.self) { group in
                for writer in 0..<4 {
                    group.addTask {
                        let state = ClusterState(namespace: namespace, send: send)
                        for _ in 0..<5 { _ = try? await state.update("counts") { "\((Int($0 ?? "0") ?? 0) + 1)" } }
                        _ = try? await state.update("writer-\(writer)") { _ in "{}" }
                    }
                }
            }
            let state = ClusterState(namespace: namespace, send: send)
            var texts = try await state.read()
            #expect(texts["counts"] == "20")
            #expect(texts.count == 5)
            #expect(try await state.update("counts") { _ in nil } == nil)
            let failure = await #expect(throws: ClusterState.Failure.self) {
                try await state.update("large") { _ in String(repeating: "x", count: 1 << 20) }
            }
            #expect(failure?.cause == .tooLarge)
            texts = try await state.read()
            #expect(texts.keys.sorted() == (0..<4).map { "writer-\($0)" })
            let nowhere = await #expect(throws: ClusterState.Failure.self) {
                try await ClusterState(namespace: "nowhere", send: send).update("a") { _ in "b" }
            }
            #expect(nowhere?.message == "there is no namespace nowhere for ConfigMap plumb-controller: make it, or name another one")
            let nobody = try ClusterConnection(ClusterLogin(kubeconfig: kubeconfig, context: "nobody"))
            let denied = await #expect(throws: ClusterState.Failure.self) {
                try await ClusterState(namespace: namespace) { (request) throws(APIFailure) in try await nobody.send(request) }.read()
            }
            #expect(denied?.message.hasPrefix("user nobody may not get configmaps in namespace \(namespace) (plumb-controller)") == true)
            await nobody.close()
            await connection.close()
        }
    }

    private func withElection(_ body: (_ namespace: String) async throws -> Void) async throws {
        let connection = try ClusterConnection(ClusterLogin(kubeconfig: kubeconfig, context: "home"))
        let namespace = "election-\(UInt32.random(in: .min ... .max))"
        let object: Value = ["apiVersion": "v1", "kind": "Namespace", "metadata": ["name": .string(namespace)]]
        _ = try await connection.send(APIRequest(.post, "/api/v1/namespaces", contentType: ContentType.json, body: object))
        // As if somebody had just given it back, so that the first one need not wait.
        let lease: Value = [
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": ["name": "election"],
            "spec": ["holderIdentity": "", "leaseDurationSeconds": 1],
        ]
        let leases = "/apis/coordination.k8s.io/v1/namespaces/\(namespace)/leases"
        _ = try await connection.send(APIRequest(.post, leases, contentType: ContentType.json, body: lease))
        try await body(namespace)
        for path in ["\(leases)/election", "/api/v1/namespaces/\(namespace)"] {
            _ = try? await connection.send(APIRequest(.delete, path))
        }
        await connection.close()
    }
}

/// One process that takes part.
private final class Candidate {
    private let process = Process()
    private let input = Pipe()
    private let output: URL

    init(_ identity: String, _ kubeconfig: String, _ namespace: String) throws {
        output = FileManager.default.temporaryDirectory.appendingPathComponent("elector-\(UUID().uuidString)")
        try Data().write(to: output)
        let own = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
        let folders = [own, Bundle.main.bundleURL, Bundle.main.bundleURL.deletingLastPathComponent()]
        let found = folders.map { $0.appendingPathComponent("Elector") }.first { FileManager.default.isExecutableFile(atPath: $0.path) }
        guard let found else { throw LeaderElectionLiveTests.NoLab() }
        process.executableURL = found
        process.arguments = [kubeconfig, namespace, "election", identity]
        process.standardInput = input
        process.standardOutput = try FileHandle(forWritingTo: output)
        try process.run()
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        try? FileManager.default.removeItem(at: output)
    }

    var pid: Int32 { process.processIdentifier }

    func end() { try? input.fileHandleForWriting.close() }

    static var clock: Int {
        var time = timespec(tv_sec: 0, tv_nsec: 0)
        clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
    }

    private var lines: [(at: Int, text: String)] {
        let text = (try? String(contentsOf: output, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").compactMap { line in
            let parts = line.split(separator: " ", maxSplits: 1)
            return parts.count == 2 ? Int(parts[0]).map { ($0, String(parts[1])) } : nil
        }
    }

    var acts: Bool { lines.last { $0.text == "acts" || $0.text == "rests" }?.text == "acts" }

    /// As the last thing that was told.
    func said(_ text: String) -> Bool { lines.contains { $0.text.hasPrefix(text) } }

    /// In which it acted. One that was killed acted until then at the latest, and whoever came next came after that.
    var periods: [(from: Int, to: Int)] {
        var periods: [(from: Int, to: Int)] = []
        for line in lines {
            if line.text == "acts" { periods.append((line.at, line.at)) }
            if line.text == "rests", let last = periods.indices.last { periods[last].to = line.at }
        }
        return periods
    }

    func waits(for condition: (Candidate) -> Bool) async throws -> Bool {
        for _ in 0..<6000 {
            if condition(self) { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        print(lines)
        return false
    }
}

/// A way to the API server that can be cut: then nothing comes through, and nobody is told.
private final class Proxy {
    private let process = Process()
    private let folder: URL
    let kubeconfig: String

    private static let program = """
        import socket, sys, threading
        server = socket.create_server(('127.0.0.1', 0))
        print(server.getsockname()[1], flush=True)
        def pass_on(a, b):
            try:
                while data := a.recv(65536): b.sendall(data)
            except OSError: pass
            for side in (a, b):
                try: side.shutdown(socket.SHUT_RDWR)
                except OSError: pass
        while True:
            client, _ = server.accept()
            try: upstream = socket.create_connection(('127.0.0.1', 6443))
            except OSError:
                client.close()
                continue
            for pair in ((client, upstream), (upstream, client)):
                threading.Thread(target=pass_on, args=pair, daemon=True).start()
        """

    init(kubeconfig: String) throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("proxy-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
        process.arguments = ["-c", Self.program]
        process.standardOutput = output
        try process.run()
        let port = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        let text = try String(contentsOfFile: kubeconfig, encoding: .utf8).replacing("127.0.0.1:6443", with: "127.0.0.1:\(port)")
        self.kubeconfig = folder.appendingPathComponent("kubeconfig").path
        try Data(text.utf8).write(to: URL(fileURLWithPath: self.kubeconfig))
    }

    func cut() { kill(process.processIdentifier, SIGSTOP) }
    func mend() { kill(process.processIdentifier, SIGCONT) }

    func end() {
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        try? FileManager.default.removeItem(at: folder)
    }
}
