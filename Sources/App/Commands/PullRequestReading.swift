import Controller
import Git
import Reporting
import ResourceModel
import SpecLoading
import SpecSources

/// How the head of a pull request is read: as merged into the base, and of a stranger no more than a little more than what is there.
struct PullRequestReading {
    var isForStranger: Bool
    var contextIsGiven: Bool

    struct Mistakes: Error {
        var annotations: [Annotation]
    }

    func limits(after base: SpecAmount) -> GitLimits {
        var limits = GitLimits()
        guard isForStranger else { return limits }
        limits.packBytes = 64 << 20
        limits.objectBytes = 4 << 20
        limits.specs.fileBytes = max(1 << 20, 2 * base.largestFile)
        limits.specs.totalBytes = (2 << 20) + 2 * base.bytes
        limits.specs.files = 1000 + 2 * base.files
        limits.specs.entries = 50_000 + 2 * base.files
        return limits
    }

    /// Checks the head's files.
    func load(_ tree: GitTree, after base: DesiredState) -> Result<DesiredState, Mistakes> {
        load(tree, maxResources: isForStranger ? max(20_000, 2 * base.resources.count) : 1_000_000)
    }

    func load(_ tree: GitTree, maxResources: Int = 1_000_000) -> Result<DesiredState, Mistakes> {
        guard tree.problems.isEmpty else {
            return .failure(Mistakes(annotations: tree.problems.map { Annotation(path: $0.path, message: $0.message, fix: $0.fix) }))
        }
        do throws(SpecMistakes) {
            return .success(try Source.desired(tree.files, contextIsGiven: contextIsGiven, maxResources: maxResources))
        } catch {
            return .failure(Mistakes(annotations: error.diagnostics.map(Annotation.init)))
        }
    }
}

extension SpecAmount {
    init(_ files: [SourceFile]) {
        self.init(files: files.count, bytes: files.reduce(0) { $0 + $1.bytes.count }, largestFile: files.map(\.bytes.count).max() ?? 0)
    }
}

extension GitJoin {
    /// What a reader of the report has to know; nil: nothing.
    var note: String? {
        switch self {
        case .contained, .merged: nil
        case .conflicting: "it can't be merged without a conflict: this is about the head alone, and what came to the base since looks undone here"
        case .unrelated: "the head and the base have no history in common: what is only in the base looks undone here"
        }
    }
}
