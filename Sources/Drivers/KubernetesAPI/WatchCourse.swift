package import Values

/// How a watch goes on: what is asked next, and what the answers mean. A value; time and chance come in as arguments.
///
/// - Flow: list, page by page; watch from the version of the list; when that ends, watch again from the last version that was seen; when the
///   server no longer has that version (410), list again.
/// - Guarantees: between two lists every version is either delivered or asked for again. Whoever gets all events has what the server has.
package struct WatchCourse: Sendable {
    package enum Order: Hashable, Sendable {
        /// - Parameter next: nil: the first page.
        case list(next: String?)
        case watch(version: String)
    }

    package enum Line: Hashable, Sendable {
        case event(WatchEvent)
        case bookmark
        /// The stream is over, and why. What comes next is in `order`.
        case over(String)
    }

    package private(set) var order = Order.list(next: nil)
    /// Whether this server says from time to time that it is still there.
    package private(set) var hasBookmarks = false
    private let watch: ObjectWatch
    /// Of the pages before.
    private var items: [Value] = []
    /// The version of the first page. Servers give all pages the same; where one does not, nothing is missed between them.
    private var listVersion: String?
    /// Attempts in a row that brought nothing.
    private var failures = 0
    private var requestedDelay = Duration.zero

    private let firstDelay: Duration
    private let longestDelay: Duration
    /// What a server may ask for; beyond that it is asked again early.
    private static let longestRequestedDelay = Duration.seconds(120)
    /// A stream that was open as long as this was worth opening.
    private static let worthwhile = Duration.seconds(1)

    package init(_ watch: ObjectWatch, firstDelay: Duration = .milliseconds(200), longestDelay: Duration = .seconds(30)) {
        self.watch = watch
        self.firstDelay = firstDelay
        self.longestDelay = longestDelay
    }

    /// How long to wait before `order` is carried out: not at all after the first failure, then longer each time.
    ///
    /// - Parameter chance: from 0 to 1. Watches that ended together should not come back together.
    package func delay(chance: Double) -> Duration {
        guard failures > 1 else { return requestedDelay }
        let backoff = min(longestDelay, firstDelay * (1 << min(failures - 2, 10)))
        return max(requestedDelay, backoff * (0.5 + 0.5 * chance))
    }

    /// A page that the server gave.
    ///
    /// - Returns: the whole list, after its last page.
    package mutating func take(page: APIResponse) throws(APIFailure) -> WatchEvent? {
        guard let found = page.body["items"]?.arrayValue, let version = page.body[path: "metadata", "resourceVersion"]?.stringValue, !version.isEmpty
        else {
            startAnew()
            throw APIFailure(.unreadable, "the list of \(watch.words) has no items or no version: is this an API server?")
        }
        items += found.map { item in
            var item = item
            // Elements of a list do not say what they are.
            item["apiVersion"] = .string(watch.api.groupVersion.description)
            item["kind"] = .string(watch.api.kind)
            return item
        }
        requestedDelay = .zero
        let first = listVersion ?? version
        if let next = page.body[path: "metadata", "continue"]?.stringValue, !next.isEmpty {
            order = .list(next: next)
            listVersion = first
            return nil
        }
        defer { (items, listVersion) = ([], nil) }
        order = .watch(version: first)
        return .listed(items)
    }

    /// One line of the stream.
    ///
    /// - Parameter duration: how long the stream has been open.
    package mutating func take(line: Value, after duration: Duration) -> Line {
        if duration >= Self.worthwhile { failures = 0 }
        let object = line["object"] ?? .null
        let type = line["type"]?.stringValue ?? ""
        if type == "ERROR" {
            let status = APIStatus(APIResponse(status: Int(object["code"]?.intValue ?? 500), body: object))
            startAnew()
            return .over(status.map(reason) ?? "the server ended it with an error that says nothing")
        }
        guard let version = object[path: "metadata", "resourceVersion"]?.stringValue, !version.isEmpty else {
            startAnew()
            return .over("the server sent an event without a version")
        }
        let result: Line
        switch type {
        case "ADDED", "MODIFIED": result = .event(.changed(object))
        case "DELETED": result = .event(.deleted(object))
        case "BOOKMARK":
            hasBookmarks = true
            result = .bookmark
        default:
            startAnew()
            return .over("the server sent an event of a kind that is not known ('\(type.prefix(40))')")
        }
        order = .watch(version: version)
        // A server that says something and ends the stream, again and again, is asked a few times a second and no more.
        failures = min(failures, 2)
        return result
    }

    /// What can't be read may have been an event: only a list says what it was.
    package mutating func takeUnreadableLine() { startAnew() }

    /// The stream has ended, however it did.
    ///
    /// - Parameter duration: how long it was open.
    package mutating func end(after duration: Duration) {
        failures = duration >= Self.worthwhile ? 0 : failures + 1
        requestedDelay = .zero
    }

    /// The request was answered with a refusal.
    ///
    /// - Returns: why, for people.
    package mutating func refuse(_ status: APIStatus, retryAfter: Duration? = nil) -> String {
        let asked = retryAfter ?? status.retryAfterSeconds.map { .seconds($0) } ?? .zero
        failures += 1
        // An old version, or pages that are forgotten. A path that is gone is another one when it is back.
        if status.code == 410 || status.code == 404 || status.code == 400 { listAgain() }
        requestedDelay = min(max(asked, .zero), Self.longestRequestedDelay)
        return reason(status)
    }

    /// There was no answer.
    package mutating func fail() {
        failures += 1
        requestedDelay = .zero
    }

    private mutating func startAnew() {
        failures += 1
        requestedDelay = .zero
        listAgain()
    }

    private mutating func listAgain() {
        (items, listVersion) = ([], nil)
        order = .list(next: nil)
    }

    private func reason(_ status: APIStatus) -> String {
        guard status.code == 410 else { return "\(status)" }
        return "the server no longer has the version that was seen last (410), so all is listed again"
    }
}
