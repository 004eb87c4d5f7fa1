import NIOCore
import Synchronization

/// Runs a server until the task is cancelled, and ends it in order: first nobody new is let in, then those who are here are ended.
///
/// Cancelling it at once would drop a connection that was accepted in that moment and that nobody has taken yet, and NIO ends the process for that.
///
/// - Parameter body: the server; tells its listening channel once it has one.
func withOrderlyEnd(_ body: @escaping @Sendable (_ listens: @escaping @Sendable (any Channel) -> Void) async throws -> Void) async throws {
    let door = Door()
    let serving = Task { try await body { door.open($0) } }
    try await withTaskCancellationHandler {
        try await serving.value
    } onCancel: {
        door.close()
        Task {
            // What was accepted is taken within that.
            try? await Task.sleep(for: .milliseconds(100))
            serving.cancel()
        }
    }
}

private final class Door: Sendable {
    private let state = Mutex<(channel: (any Channel)?, isClosed: Bool)>((nil, false))

    func open(_ channel: any Channel) {
        let isClosed = state.withLock { state in
            state.channel = channel
            return state.isClosed
        }
        if isClosed { channel.close(promise: nil) }
    }

    func close() {
        let channel = state.withLock { state in
            state.isClosed = true
            return state.channel
        }
        channel?.close(promise: nil)
    }
}
