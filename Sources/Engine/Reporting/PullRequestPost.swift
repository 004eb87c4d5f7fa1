package import ResourceModel
import YAML

/// A mistake in the specs as forges attach it to a line.
package struct Annotation: Sendable, Hashable {
    /// In the repository; empty where it belongs to no file.
    package var path: String
    /// From 1.
    package var line: Int
    package var column: Int
    package var message: String
    package var fix: String

    package init(path: String, line: Int = 1, column: Int = 1, message: String, fix: String = "") {
        self.path = path
        self.line = line
        self.column = column
        self.message = message
        self.fix = fix
    }

    package init(_ diagnostic: Diagnostic) {
        self.init(
            path: diagnostic.position.file,
            line: diagnostic.position.line,
            column: diagnostic.position.column,
            message: diagnostic.message,
            fix: diagnostic.fix
        )
    }
}

/// What is said of a pull request at its forge. Plain data: who sends it knows the forge's limits and gives them.
package struct PullRequestPost: Sendable, Hashable {
    package struct Comment: Sendable, Hashable {
        /// Markdown; its first line is `marker`.
        package var body: String
        /// An HTML comment by which the comment is found again, together with its author. It counts as the first line only: what is quoted
        /// further down may hold any text.
        package var marker: String

        /// Whether a comment that is there says the same, the time of the observation aside. Then it need not be sent.
        package func says(theSameAs body: String) -> Bool { Self.withoutTime(self.body) == Self.withoutTime(body) }

        private static func withoutTime(_ body: String) -> [Substring] {
            // Forges change line ends, and what is at the end.
            var lines = body.split(omittingEmptySubsequences: false) { $0 == "\n" || $0 == "\r\n" }.filter {
                !$0.hasPrefix(PullRequestReport.timePrefix)
            }
            while lines.last?.allSatisfy(\.isWhitespace) == true { lines.removeLast() }
            return lines
        }
    }

    package struct Status: Sendable, Hashable {
        package enum State: String, Sendable, Hashable, CaseIterable {
            case success
            case failure
        }

        /// `plumb/plan`.
        package var context: String
        package var state: State
        /// At most 140 bytes, ASCII.
        package var description: String
    }

    package var comment: Comment
    package var status: Status
    /// Of the head's specs.
    package var annotations: [Annotation]

    /// - Parameters:
    ///   - site: Tells apart what several Plumbs say of one repository: the path of the specs, for one.
    ///   - budget: The most bytes that the comment may have.
    ///   - whole: Where all of it is, in a few words, for a comment that had to be cut.
    package init(_ report: PullRequestReport, site: String = "", budget: Int = 65_536, whole: String? = nil) {
        comment = Comment(body: report.markdown(site: site, budget: budget, whole: whole), marker: PullRequestReport.marker(site: site))
        let isWrong = !report.mistakes.isEmpty || report.problems.contains { $0.since == .pullRequest && $0.problem.status == .invalid }
        status = Status(context: "plumb/plan", state: isWrong ? .failure : .success, description: report.headline)
        annotations = report.mistakes
    }
}
