import Crypto
import Foundation
import Values

/// The status of a commit.
package struct ReportStatus: Hashable, Sendable {
    package enum State: String, Hashable, Sendable {
        case pending
        case success
        /// The specs are invalid.
        case failure
        /// Plumb could not say.
        case error
    }

    package var state: State
    /// "3 changes, 1 disconnecting". Cut at 140 characters.
    package var description: String
    /// Where there is more to read. Left out where the forge has no room for it (GitLab: 255 characters).
    package var link: String?
    /// What tells it from other tools' statuses.
    package var context: String

    package init(_ state: State, _ description: String, link: String? = nil, context: String = "plumb/plan") {
        self.state = state
        self.description = description
        self.link = link
        self.context = context
    }
}

/// A check with remarks at lines of files. GitHub alone has it, and takes it from Apps alone.
package struct ReportCheck: Hashable, Sendable {
    package struct Annotation: Hashable, Sendable {
        /// From the top of the repository.
        package var path: String
        /// Counts from 1.
        package var line: Int
        package var message: String

        package init(path: String, line: Int, message: String) {
            self.path = path
            self.line = line
            self.message = message
        }

        var value: Value {
            let line = Value.int(Int64(max(1, line)))
            return [
                "path": .string(path), "start_line": line, "end_line": line, "annotation_level": "failure",
                "message": .string(message.shortened(toBytes: 65_535)),
            ]
        }
    }

    /// GitHub's limit of one request.
    static let annotationsAtATime = 50
    /// More are left out: ten pages of mistakes say no more than one.
    static let mostAnnotations = 500

    package var name: String
    package var title: String
    /// Markdown.
    package var summary: String
    package var isFailure: Bool
    package var annotations: [Annotation]

    package init(name: String = "plumb/specs", title: String, summary: String, isFailure: Bool, annotations: [Annotation]) {
        self.name = name
        self.title = title
        self.summary = summary
        self.isFailure = isFailure
        self.annotations = Array(annotations.prefix(Self.mostAnnotations))
    }

    /// The same check has the same.
    var fingerprint: String {
        let text = ([title, summary, "\(isFailure)"] + annotations.map(\.value.canonicalJSON)).joined(separator: "\u{0}")
        return "plumb-" + SHA256.hash(data: Data(text.utf8)).prefix(12).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

extension String {
    /// At most so many characters, the last of them an ellipsis where something was cut.
    func shortened(to limit: Int) -> String {
        unicodeScalars.count <= limit ? self : String(String.UnicodeScalarView(unicodeScalars.prefix(limit - 1))) + "…"
    }

    func shortened(toBytes limit: Int) -> String {
        guard utf8.count > limit else { return self }
        var result = String.UnicodeScalarView()
        var room = limit - 3
        for scalar in unicodeScalars {
            room -= UTF8.width(scalar)
            if room < 0 { break }
            result.append(scalar)
        }
        return String(result) + "…"
    }

    /// Somebody else's text, fit to stand in a line of ours: no control characters, nothing that turns the direction of writing.
    func printable(limit: Int) -> String {
        var result = String.UnicodeScalarView()
        for scalar in unicodeScalars.prefix(limit + 1) {
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .surrogate, .unassigned: result.append("·")
            default: result.append(scalar)
            }
        }
        return String(result).shortened(to: limit)
    }
}
