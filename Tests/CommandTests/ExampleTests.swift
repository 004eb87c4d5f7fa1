import Foundation
import Testing
import Values

extension LabTests {
    /// Every example is run as its reader would: plan, apply, plan again.
    ///
    /// `PLUMB_RECORD=1` writes the expected plans anew; look at the diff before you commit it.
    @Suite struct ExampleTests {
        private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("examples")
        static let names = ((try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []).filter {
            FileManager.default.fileExists(atPath: folder.appendingPathComponent("\($0)/spec.yaml").path)
        }.sorted()

        @Test func thereAreExamples() { #expect(Self.names.count >= 4) }

        @Test(arguments: names)
        func doesWhatItSays(name: String) async throws {
            let lab = try Lab()
            try await lab.lab("reset", "pi-1")
            try await lab.lab("drift", "pi-1")
            if name == "kubernetes-object" { try await lab.restoreKubernetesService() }
            let plan = try await lab.plumb(["plan", name], folder: Self.folder.path)
            let expectation = Self.folder.appendingPathComponent("\(name)/expected-plan.txt")
            // Who set a field is part of the plan; when, differs.
            let said = plan.output.replacing(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/, with: "2026-01-01T00:00:00Z")
            if ProcessInfo.processInfo.environment["PLUMB_RECORD"] == "1" {
                try said.write(to: expectation, atomically: true, encoding: .utf8)
            }
            #expect(said == (try String(contentsOf: expectation, encoding: .utf8)), "\(plan.errorOutput)")
            let isBlocked = said.contains("blocked")
            let apply = try await lab.plumb(["apply", name, "--yes"], folder: Self.folder.path)
            #expect(apply.status == (isBlocked ? 1 : 0), "\(apply.output) \(apply.errorOutput)")
            let again = try await lab.plumb(["plan", name, "--detailed-exitcode"], folder: Self.folder.path)
            #expect(again.status == (isBlocked ? 2 : 0), "\(again.output) \(again.errorOutput)")
            #expect(again.output.contains("No changes"))
        }
    }
}

extension Lab {
    /// Sends a request past Plumb, as the cluster's administrator.
    @discardableResult
    func request(_ method: String, _ path: String, _ body: String? = nil, type: String = "application/json") async throws -> Value {
        let own = "\(folder)/api-server"
        var command = [
            "curl", "--silent", "--show-error", "--max-time", "10", "--cacert", "\(own)/ca.pem", "--cert", "\(own)/home.pem", "--key",
            "\(own)/home.key", "--request", method, "https://127.0.0.1:6443\(path)",
        ]
        if let body { command += ["--header", "Content-Type: \(type)", "--data", body] }
        let outcome = try await run(command)
        #expect(outcome.status == 0, "\(outcome.errorOutput)")
        return try Value(json: outcome.output.utf8)
    }

    /// The Service `kubernetes` as the API server makes it, whatever a test made of it.
    func restoreKubernetesService() async throws {
        try await request("DELETE", Self.kubernetesService)
        for _ in 0..<300 {
            if try await request("GET", Self.kubernetesService)[path: "spec", "type"] == "ClusterIP" { return }
            try await Task.sleep(for: .milliseconds(100))
        }
        Issue.record("the API server did not make the Service anew within 30 s")
    }

    static let kubernetesService = "/api/v1/namespaces/default/services/kubernetes"
}
