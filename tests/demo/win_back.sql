-- The plan rules/win-back.yaml, computed a second way: from the raw log alone, with nothing of flowops.
--
-- One row for each trigger: a purchase after which the household bought nothing for 14 days (S13), with the instant of
-- the message (held while it is quiet, 22:00 to 08:00 local, S26) and what was bought within 7 days of it (S41). Elapsed
-- time is counted in hours, since an interval in days would follow the wall clock through the two changes of 2017.
-- A message or a wait that lies beyond the last record is pending (S6), so it is left out, or delivered_at is NULL.

with
    purchase as (
        select
            household_id,
            basket_id || '-' || product_id as event_id,
            sales_value,
            row_number() over () as line,
            -- local time to UTC by the two changes themselves: no time of the log falls into either
            transaction_timestamp + case
                when transaction_timestamp >= timestamp '2017-03-12 03:00'
                 and transaction_timestamp <  timestamp '2017-11-05 02:00' then interval '4 hours'
                else interval '5 hours'
            end as bought_at
        from read_csv(getvariable('purchases'), types = {
            'household_id': 'varchar', 'basket_id': 'varchar', 'product_id': 'varchar',
            'sales_value': 'decimal(18, 4)', 'transaction_timestamp': 'timestamp'
        })
    ),

    -- every record of the run moves its time on, but redemptions end the day before the last purchase
    run as (select max(bought_at) as ended_at from purchase),

    absence as (
        select household_id, event_id, bought_at + interval '336 hours' as triggered_at
        from (
            select *, lead(bought_at) over (partition by household_id order by bought_at, line) as next_at
            from purchase
        )
        where next_at is null or next_at >= bought_at + interval '336 hours'
    ),

    message as (
        select *, case when due_at <= ended_at then due_at end as delivered_at
        from (
            select
                household_id,
                event_id,
                triggered_at,
                ended_at,
                case
                    when hour(local_at) >= 22
                        then timezone('UTC', timezone('America/New_York', midnight + interval '32 hours'))
                    when hour(local_at) < 8
                        then timezone('UTC', timezone('America/New_York', midnight + interval '8 hours'))
                    else triggered_at
                end as due_at
            from (
                select
                    *,
                    timezone('America/New_York', timezone('UTC', triggered_at)) as local_at,
                    date_trunc('day', local_at) as midnight
                from absence, run
                where triggered_at <= ended_at
            )
        )
    )

select
    message.household_id as user_id,
    message.event_id as evidence,
    epoch_us(message.triggered_at) as triggered_at,
    epoch_us(message.delivered_at) as delivered_at,
    count(purchase.event_id) as purchases,
    coalesce(sum(purchase.sales_value), 0) as value
from message
left join purchase
    on purchase.household_id = message.household_id
    and purchase.bought_at >= message.delivered_at
    and purchase.bought_at < message.delivered_at + interval '168 hours'
group by all
order by triggered_at, user_id
