CREATE EXTENSION damoov;

CREATE SERVER trips_eu TYPE 'sqs' FOREIGN DATA WRAPPER damoov
    OPTIONS (queue_url :'queue_url', region 'eu-west-1');

CREATE USER MAPPING FOR CURRENT_USER SERVER trips_eu
    OPTIONS (access_key_id 'AKIDEXAMPLE', secret_access_key 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY');

-- only because the datasets come from a stand-in, too
CREATE SERVER damoov_api TYPE 'api' FOREIGN DATA WRAPPER damoov
    OPTIONS (base_url :'base_url');
