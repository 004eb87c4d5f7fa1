import Foundation
import Synchronization

/// Runs jobs that mostly wait, some at a time.
///
/// - Throws: the first error, after all have ended.
func inLanes(_ lanes: Int, _ jobs: [@Sendable () throws -> Void]) throws {
    let first = Mutex<(any Error)?>(nil)
    let queue = OperationQueue()
    queue.maxConcurrentOperationCount = lanes
    for job in jobs {
        queue.addOperation {
            do { try job() } catch { first.withLock { if $0 == nil { $0 = error } } }
        }
    }
    queue.waitUntilAllOperationsAreFinished()
    if let error = first.withLock({ $0 }) { throw error }
}
