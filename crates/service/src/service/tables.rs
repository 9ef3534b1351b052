//! Read models that live and end with a service.

use super::Service;
use crate::table::Table;

impl Service {
    /// Makes a read model a part of the service: the service is [ready](crate::Health) only when the table has caught up
    /// and has not failed, and the table is stopped when the handlers have ended. Other handles of the table can still be
    /// read then.
    ///
    /// ```no_run
    /// # async fn example(client: milena::Client, router: milena_service::Router) -> Result<(), Box<dyn std::error::Error>> {
    /// use milena_service::{Service, Table};
    ///
    /// let prices: Table<String, u64> = Table::start(&client, "prices").await?;
    /// Service::new(&client, "shop").router(router).table(&prices).run().await?;
    /// # Ok(()) }
    /// ```
    pub fn table<K, V>(self, table: &Table<K, V>) -> Self
    where
        K: Ord + Clone + Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        let name = format!("table {}", table.topic());
        let (checked, stopped) = (table.clone(), table.clone());
        let service = self.ready_when(name.clone(), move || checked.check());
        service.task(name, move |mut stopping| {
            let table = stopped.clone();
            async move {
                stopping.requested().await;
                table.stop().await;
                Ok(())
            }
        })
    }
}
