import Foundation
import Testing
import Values
import YAML

extension Lab {
    /// Does what `kubectl apply -f` does (Ubuntu 24.04 has no package of it): hands each document to the API server, which takes no field it does not know.
    @discardableResult
    func applyManifests(_ text: String, dryRun: Bool = false) async throws -> [Value] {
        var answers: [Value] = []
        for object in try manifests(text) {
            let path = "\(try path(of: object))?fieldManager=tests&force=true\(dryRun ? "&dryRun=All" : "")"
            let answer = try await request("PATCH", path, object.canonicalJSON, type: "application/apply-patch+yaml")
            #expect(answer["kind"] == object["kind"] && answer["kind"] != "Status", "\(path): \(answer.canonicalJSON)")
            answers.append(answer)
        }
        return answers
    }

    func deleteManifests(_ text: String) async throws {
        for object in try manifests(text) { try await request("DELETE", try path(of: object)) }
    }

    private func manifests(_ text: String) throws -> [Value] {
        let (documents, error) = parseYAML(Array(text.utf8), file: "manifests.yaml")
        try #require(error == nil, "\(error?.message ?? "")")
        return try documents.compactMap { document in
            var errors: [YAMLError] = []
            let value = document.value(errors: &errors)
            try #require(errors.isEmpty, "\(errors)")
            return value == .null ? nil : value
        }
    }

    private func path(of object: Value) throws -> String {
        let version = try #require(object["apiVersion"]?.stringValue)
        let kind = try #require(object["kind"]?.stringValue)
        let name = try #require(object[path: "metadata", "name"]?.stringValue)
        let namespace = object[path: "metadata", "namespace"]?.stringValue.map { "/namespaces/\($0)" } ?? ""
        let plural = kind.lowercased() + (kind.hasSuffix("s") ? "es" : "s")
        return "\(version.contains("/") ? "/apis" : "/api")/\(version)\(namespace)/\(plural)/\(name)"
    }

    /// What the API server answers in plain text.
    func text(_ path: String) async throws -> String {
        let own = "\(folder)/api-server"
        let outcome = try await run([
            "curl", "--silent", "--show-error", "--max-time", "10", "--cacert", "\(own)/ca.pem", "--cert", "\(own)/home.pem", "--key",
            "\(own)/home.key", "https://127.0.0.1:6443\(path)",
        ])
        #expect(outcome.status == 0, "\(outcome.errorOutput)")
        return outcome.output
    }
}
