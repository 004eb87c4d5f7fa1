import ArgumentParser
import ClusterKinds
import Foundation
import HostKinds
import Reporting
import ResourceModel
import SpecLoading
import SpecSources

/// Where specs come from.
enum Source {
    static let defaultPath = "state"

    /// A pod reaches its cluster through its service account, without a context.
    static var isInPod: Bool { !(ProcessInfo.processInfo.environment["KUBERNETES_SERVICE_HOST"] ?? "").isEmpty }

    /// Every kind there is.
    static let kinds = HostKinds.all + ClusterKinds.all

    /// Reads and checks the specs.
    ///
    /// - Throws: exit status 1, after every mistake was printed.
    static func load(_ path: String, contextIsGiven: Bool, terminal: Terminal) throws -> DesiredState {
        if path.contains("://") || (path.contains("@") && path.contains(":")) {
            terminal.writeError("error: git sources are not supported yet; clone the repository and give the folder\n")
            throw ExitCode(1)
        }
        let (files, problems) = readSource(path)
        for problem in problems {
            let fix = problem.fix.isEmpty ? "" : "\n    \(Escaping.shown(problem.fix))"
            terminal.writeError("\(Escaping.shown(problem.path)): \(terminal.errors.errorWord): \(Escaping.shown(problem.message))\(fix)\n")
        }
        if !problems.isEmpty { throw ExitCode(1) }
        do {
            return try desired(files, contextIsGiven: contextIsGiven)
        } catch {
            for diagnostic in error.diagnostics { terminal.writeError(diagnostic.text(style: terminal.errors) + "\n") }
            let count = error.diagnostics.count
            terminal.writeError("\n\(count == 1 ? "1 mistake" : "\(count) mistakes"); nothing was contacted, nothing is applied.\n")
            throw ExitCode(1)
        }
    }

    /// Checks the files of a revision.
    static func desired(_ files: [SourceFile], contextIsGiven: Bool) throws(SpecMistakes) -> DesiredState {
        try loadSpecs(
            files.map { SpecFile(path: $0.path, relativePath: $0.relativePath, bytes: $0.bytes) },
            kinds: kinds,
            options: LoadOptions(contentHash: contentDigest(of: files), contextIsGiven: contextIsGiven)
        )
    }
}
