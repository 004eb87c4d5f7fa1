import AsyncHTTPClient
import Foundation
package import KubernetesAPI
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import Values

/// The limits of a watch; tests have their own.
struct WatchPolicy: Sendable {
    /// Objects that are listed with one request.
    var pageSize = 500
    /// After how many seconds the server ends a watch, chosen anew each time so that they don't all end at once.
    var lifetime = 300...600
    /// Servers that send bookmarks do so about once a minute; after this long without a byte such a one is taken for gone.
    var longestSilence = Duration.seconds(150)
    /// How much later than the server's own end of a watch it may come where there are no bookmarks.
    var margin = Duration.seconds(30)
    /// Of one line, in bytes. Objects end at 1.5 MiB in etcd; as JSON they are a little longer, and an event holds one.
    var longestLine = 8 << 20
    /// After the second failure in a row; the first is tried again at once.
    var firstDelay = Duration.milliseconds(200)
    var longestDelay = Duration.seconds(30)
}

extension ClusterConnection {
    /// Tells all that happens to some objects, first what is there, until the task is cancelled.
    ///
    /// - Flow: lists, watches from there, watches on from the last version whenever a stream ends, lists again where the server has forgotten
    ///   that version. What fails is tried again: the first time at once, then after up to 30 s.
    /// - Guarantees: no event is missed, and they come in order. Nothing is held back: an event is told as soon as its last byte is here. A consumer
    ///   that is slow slows down the server and nothing else; at most a few buffers wait. A server that is gone without a word is noticed within half
    ///   a minute where it is the machine, and within 150 s where something before it keeps the connection open.
    /// - Errors: none ends it; each is told as `restarted`. Credentials are read again when they are refused.
    ///
    /// - Parameter onEvent: called from one task at a time. `listed` can come at any time, not only first.
    package func follow(_ watch: ObjectWatch, onEvent: @escaping @Sendable (WatchEvent) -> Void) async {
        await follow(watch, policy: WatchPolicy(), onEvent: onEvent)
    }

    func follow(_ watch: ObjectWatch, policy: WatchPolicy, onEvent: @escaping @Sendable (WatchEvent) -> Void) async {
        var course = WatchCourse(watch, firstDelay: policy.firstDelay, longestDelay: policy.longestDelay)
        while !Task.isCancelled {
            let delay = course.delay(chance: .random(in: 0...1))
            if delay > .zero { try? await Task.sleep(for: delay) }
            if Task.isCancelled { return }
            var why: String?
            switch course.order {
            case .list(let next):
                do throws(APIFailure) {
                    let page = try await send(watch.list(limit: policy.pageSize, after: next))
                    if let status = APIStatus(page) {
                        why = course.refuse(status)
                    } else if let event = try course.take(page: page), !Task.isCancelled {
                        onEvent(event)
                    }
                } catch {
                    course.fail()
                    why = error.message
                }
            case .watch(let version):
                let lifetime = Int.random(in: policy.lifetime)
                why = await stream(watch.request(from: version, lifetime: lifetime), .seconds(lifetime), &course, policy, onEvent)
            }
            if let why, !Task.isCancelled { onEvent(.restarted(why)) }
        }
    }

    /// Reads one stream to its end.
    ///
    /// - Returns: why it ended; nil: it was time.
    private func stream(
        _ request: APIRequest,
        _ lifetime: Duration,
        _ course: inout WatchCourse,
        _ policy: WatchPolicy,
        _ onEvent: @escaping @Sendable (WatchEvent) -> Void
    ) async -> String? {
        let pulse = Pulse()
        let before = course
        let longestWait = lifetime + policy.margin
        // One part reads, the other one watches the clock; whichever is first ends both, and what was read until then counts.
        return await withTaskGroup(of: StreamEnd?.self) { group in
            group.addTask { await self.read(request, before, policy, pulse, onEvent) }
            group.addTask {
                await pulse.stops(longest: policy.longestSilence, withoutBookmarks: longestWait)
                return nil
            }
            var isSilent = false
            var end: StreamEnd?
            while let first = await group.next() {
                if let first { end = first } else { isSilent = end == nil }
                group.cancelAll()
            }
            guard let end else { return "it ended in no way that is known; this is a mistake in Plumb, please report it" }
            course = end.course
            if isSilent {
                course.end(after: .zero)
                return "\(access.endpoint) has said nothing for too long"
            }
            return end.why
        }
    }

    private struct StreamEnd: Sendable {
        var course: WatchCourse
        var why: String?
    }

    private func read(
        _ request: APIRequest,
        _ before: WatchCourse,
        _ policy: WatchPolicy,
        _ pulse: Pulse,
        _ onEvent: @Sendable (WatchEvent) -> Void
    ) async -> StreamEnd {
        var course = before
        // Since when there is a stream; waiting for one is no success, however long it took.
        var opened: ContinuousClock.Instant?
        do {
            let client = try openWatchClient()
            let response = try await client.execute(try message(request), timeout: .nanoseconds(timeout.nanoseconds))
            guard response.status == .ok else { return await refuse(response, course) }
            let started = ContinuousClock.now
            opened = started
            var lines = LineReader(longest: policy.longestLine)
            for try await bytes in response.body {
                pulse.beat(hasBookmarks: course.hasBookmarks)
                lines.take(bytes)
                while let line = lines.next() {
                    guard let value = try? Value(json: line) else {
                        course.takeUnreadableLine()
                        return StreamEnd(course: course, why: "\(access.endpoint) sent an event that is no JSON")
                    }
                    switch course.take(line: value, after: .now - started) {
                    case .event(let event): onEvent(event)
                    case .bookmark: pulse.beat(hasBookmarks: true)
                    case .over(let why): return StreamEnd(course: course, why: why)
                    }
                    // After this the consumer wants to hear nothing more.
                    if Task.isCancelled { return StreamEnd(course: course, why: nil) }
                }
                guard !lines.isTooLong else {
                    course.takeUnreadableLine()
                    let limit = policy.longestLine >> 20
                    return StreamEnd(course: course, why: "\(access.endpoint) sent an event of more than \(limit) MiB, which is more than is read")
                }
            }
            // Half a line at the end is no event: it comes again, as the version has not moved.
            let duration = ContinuousClock.now - started
            course.end(after: duration)
            // The server began to count before its head was here.
            let isTime = duration + .seconds(1) >= .seconds(policy.lifetime.lowerBound)
            return StreamEnd(course: course, why: isTime ? nil : "\(access.endpoint) ended the watch")
        } catch {
            course.end(after: opened.map { .now - $0 } ?? .zero)
            if Task.isCancelled { return StreamEnd(course: course, why: nil) }
            let failure = if let failure = error as? APIFailure { failure } else { await failure(error) }
            return StreamEnd(course: course, why: failure.message)
        }
    }

    private func refuse(_ response: HTTPClientResponse, _ course: WatchCourse) async -> StreamEnd {
        var course = course
        let body = (try? await response.body.collect(upTo: 1 << 20)).map { Array(buffer: $0) } ?? []
        let answer = APIResponse(
            status: Int(response.status.code),
            body: (try? Value(json: body)) ?? .string(String(decoding: body.prefix(1024), as: UTF8.self))
        )
        guard let status = APIStatus(answer) else {
            course.fail()
            return StreamEnd(course: course, why: "\(access.url) answers a watch with status \(answer.status): is this an API server?")
        }
        let wait = RetryPolicy.requestedDelay(response.headers.first(name: "Retry-After"), now: Date())
        let why = course.refuse(status, retryAfter: wait)
        guard status.code == 401 else { return StreamEnd(course: course, why: why) }
        do throws(APIFailure) {
            return StreamEnd(course: course, why: try renewToken() ? "the token was renewed" : Words.unauthorized(access).message)
        } catch {
            return StreamEnd(course: course, why: error.message)
        }
    }

    /// Each watch has a connection of its own, and they are as many as there are watches.
    var watchConfiguration: HTTPClient.Configuration {
        var configuration = configuration
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 4096
        configuration.http1_1ConnectionDebugInitializer = { channel in
            // A machine that is gone without a word is noticed, however quiet its objects are. (All else may lack this: then silence tells.)
            let options = [
                channel.setOption(.socketOption(.so_keepalive), value: 1),
                channel.setOption(.tcpOption(.init(rawValue: TCP_KEEPIDLE)), value: 10),
                channel.setOption(.tcpOption(.init(rawValue: TCP_KEEPINTVL)), value: 5),
                channel.setOption(.tcpOption(.init(rawValue: TCP_KEEPCNT)), value: 3),
                channel.setOption(.tcpOption(.init(rawValue: TCP_USER_TIMEOUT)), value: 25_000),
            ]
            return EventLoopFuture.whenAllComplete(options, on: channel.eventLoop).map { _ in }
        }
        return configuration
    }
}

/// When something was last heard.
private final class Pulse: Sendable {
    private let state = Mutex((last: ContinuousClock.now, hasBookmarks: false))

    func beat(hasBookmarks: Bool) { state.withLock { $0 = (.now, hasBookmarks) } }

    /// Returns when nothing was heard for too long, or when the task is cancelled.
    ///
    /// - Parameter longest: with bookmarks.
    func stops(longest: Duration, withoutBookmarks: Duration) async {
        while !Task.isCancelled {
            let (last, hasBookmarks) = state.withLock { $0 }
            let end = last + (hasBookmarks ? min(longest, withoutBookmarks) : withoutBookmarks)
            if end <= .now { return }
            // Bookmarks may come, and then there is less time: so not longer than that at once.
            try? await Task.sleep(until: min(end, .now + longest), clock: .continuous)
        }
    }
}

/// Takes a stream apart into lines. What is read is not copied, unless a line comes in pieces.
struct LineReader {
    private var pending = ByteBuffer()
    /// How much of `pending` has no end of line in it.
    private var searched = 0
    private let longest: Int

    init(longest: Int) { self.longest = longest }

    mutating func take(_ bytes: ByteBuffer) {
        if pending.readableBytes == 0 {
            pending = bytes
            searched = 0
        } else {
            pending.discardReadBytes()
            pending.writeImmutableBuffer(bytes)
        }
    }

    mutating func next() -> ByteBufferView? {
        while true {
            let view = pending.readableBytesView
            guard let end = view[(view.startIndex + searched)...].firstIndex(of: UInt8(ascii: "\n")) else {
                searched = view.count
                return nil
            }
            let line = pending.readSlice(length: end - view.startIndex)
            pending.moveReaderIndex(forwardBy: 1)
            searched = 0
            if let line, line.readableBytes > 0 { return line.readableBytesView }
        }
    }

    /// There is more of a line than may be, and no end yet.
    var isTooLong: Bool { pending.readableBytes > longest }
}
