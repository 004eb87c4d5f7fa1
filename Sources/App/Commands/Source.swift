import ArgumentParser
import ClusterKinds
import Foundation
import Git
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

    /// Specs that are valid, and where they come from.
    struct Loaded {
        var desired: DesiredState
        /// Without credentials; what a plan records.
        var shown: String
        /// The commit, where they come from a repository.
        var revision: String?
        var identity: SourceIdentity
        var files: [SourceFile]
    }

    /// A source for messages, plans and the journal: a URL without credentials.
    static func shown(_ source: String) -> String { GitLocation.isURL(source) ? GitLocation.shown(source) : source }

    /// Reads and checks the specs.
    ///
    /// - Parameter revision: The commit that a plan was made of, in place of what `options` say.
    /// - Throws: exit status 1, after every mistake was printed.
    static func load(
        _ source: String,
        revision: String? = nil,
        options: SourceOptions,
        contextIsGiven: Bool,
        terminal: Terminal
    ) async throws -> Loaded {
        try options.git.check(source)
        guard GitLocation.isURL(source) else {
            let (files, problems) = readSource(source)
            let desired = try load(files, problems, contextIsGiven: contextIsGiven, terminal: terminal)
            return Loaded(desired: desired, shown: source, identity: SourceIdentity(of: source), files: files)
        }
        let location: GitLocation
        let tree: GitTree
        let folder: String
        do throws(GitFailure) {
            location = try GitLocation(source: source, revision: revision ?? options.git.revision, path: options.git.path)
            let verify = options.git.signers.map { GitVerification(allowedSigners: $0) }
            let reading = try await GitRepository(options: options.gitOptions).read(location, verify: verify)
            guard case .read(let found) = reading else { throw GitFailure(.invalid, "\(location.shown) gave no specs") }
            tree = found
            folder = try location.folder
        } catch {
            let fix = error.fix.isEmpty ? "" : "\n    \(Escaping.shown(error.fix))"
            terminal.writeError("\(terminal.errors.errorWord): \(Escaping.lines(error.message, indent: "    "))\(fix)\n")
            throw ExitCode(1)
        }
        for note in tree.notes { terminal.writeError("note: \(Escaping.shown(note))\n") }
        return Loaded(
            desired: try load(tree.files, tree.problems, contextIsGiven: contextIsGiven, terminal: terminal),
            shown: location.shown,
            revision: tree.commit,
            identity: SourceIdentity(ofRemote: GitLocation.shown(location.url), path: folder),
            files: tree.files
        )
    }

    private static func load(
        _ files: [SourceFile],
        _ problems: [SourceProblem],
        contextIsGiven: Bool,
        terminal: Terminal
    ) throws -> DesiredState {
        for problem in problems {
            let fix = problem.fix.isEmpty ? "" : "\n    \(Escaping.shown(problem.fix))"
            let place = problem.path.isEmpty ? "" : "\(Escaping.shown(problem.path)): "
            terminal.writeError("\(place)\(terminal.errors.errorWord): \(Escaping.shown(problem.message))\(fix)\n")
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
    ///
    /// - Parameter maxResources: As in `LoadOptions`; nil: its own.
    static func desired(_ files: [SourceFile], contextIsGiven: Bool, maxResources: Int? = nil) throws(SpecMistakes) -> DesiredState {
        var options = LoadOptions(contentHash: contentDigest(of: files), contextIsGiven: contextIsGiven)
        if let maxResources { options.maxResources = maxResources }
        return try loadSpecs(
            files.map { SpecFile(path: $0.path, relativePath: $0.relativePath, bytes: $0.bytes) },
            kinds: kinds,
            options: options
        )
    }
}
